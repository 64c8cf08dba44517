// SPDX-License-Identifier: Apache-2.0
/**
 * Random requests of every unary RPC over the wire: each is answered with a status, the daemon neither dies nor
 * meets a bug, and when the pods that came of it are removed nothing is left. Bounded in time; a failure names its
 * seed, and GANTRY_TEST_SEED runs it again.
 */
import { mkdir, rmdir, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { v1 } from '../../src/edge/cri/gen/api.js'
import { type Rpc, rpcs } from '../../src/edge/cri/gen/rpcs.ts'
import { names } from '../images/catalog.ts'
import { ensureImage } from '../support/cri-requests.ts'
import { cgroupMounts } from '../support/host-view.ts'
import { expectNoLeaks } from '../support/leak-check.ts'
import { type Scenario, startScenario } from '../support/scenario.ts'
import { fuzzer, type Known } from '../support/scenario-fuzz.ts'
import { outcomeOf } from '../support/scenario-refusal.ts'
import { busybox } from '../support/scenario-run.ts'
import { cgroupfs } from '../support/workspace.ts'

const runMs = 40_000
let s: Scenario

beforeAll(async () => {
  s = await startScenario({ config: cgroupfs })
})
afterAll(() =>
  s?.end(async (before) => {
    // The parent that requests named is the client's to remove; that works only if nothing is left in it.
    for (const at of await cgroupMounts())
      await rmdir(join(at, s.workspace.cgroupParent, 'fuzz')).catch(isAbsent)
    await expectNoLeaks(before, { withinMs: 10_000 })
  }),
)

function isAbsent(e: unknown): void {
  if (!(e instanceof Error) || Reflect.get(e, 'code') !== 'ENOENT') throw e
}

/**
 * Codes that an answer may have; UNKNOWN would be grpc-js's word for an error that nobody thought of, but for those
 * that begin with a reason: the kubelet reads it of an UNKNOWN only.
 */
const allowed = new Set([
  'OK',
  'INVALID_ARGUMENT',
  'NOT_FOUND',
  'ALREADY_EXISTS',
  'FAILED_PRECONDITION',
  'RESOURCE_EXHAUSTED',
  'UNAVAILABLE',
  'UNIMPLEMENTED',
  'DEADLINE_EXCEEDED',
  'PERMISSION_DENIED',
  'INTERNAL',
])

interface Victim {
  readonly pod: string
  readonly container: string
}

/** A good pod and a running container, for the requests to be about. Made again when they have been taken away. */
async function victimOf(): Promise<Victim> {
  await ensureImage(s.client, names.busybox)
  const config = {
    ...s.podConfig('victim'),
    metadata: { name: 'victim', namespace: 'n', uid: 'u', attempt: 0 },
  }
  const { items } = await s.client.call('ListPodSandbox', {})
  for (const p of items ?? [])
    if (p.metadata?.name !== 'victim' || p.state !== 0)
      await s.client.call('RemovePodSandbox', { podSandboxId: p.id ?? '' })
  const { podSandboxId: pod } = await s.client.call('RunPodSandbox', { config, runtimeHandler: '' })
  const { containers } = await s.client.call('ListContainers', { filter: { podSandboxId: pod } })
  const running = containers?.find((c) => c.state === 1 && c.metadata?.name === 'victim')
  if (running?.id) return { pod, container: running.id }
  for (const c of containers ?? []) await s.client.call('RemoveContainer', { containerId: c.id ?? '' })
  const container = busybox({ container: 'victim', command: ['sleep', '3600'] })
  const request = { podSandboxId: pod, config: container, sandboxConfig: config }
  const { containerId } = await s.client.call('CreateContainer', request)
  await s.client.call('StartContainer', { containerId })
  return { pod, container: containerId }
}

async function knownThings(): Promise<Known> {
  const folder = join(s.workspace.root, 'fuzz')
  await mkdir(folder, { recursive: true })
  await writeFile(join(folder, 'file'), '{"defaultAction":"SCMP_ACT_ALLOW"}')
  await symlink(join(folder, 'file'), join(folder, 'link'))
  // Placeholders: ids change when the victim is made again.
  return { podIds: ['$POD'], containerIds: ['$CONTAINER'], folder, cgroup: s.workspace.cgroupParent }
}

/** The same value with the placeholders replaced. */
function withIds(value: unknown, victim: Victim): unknown {
  if (value === '$POD') return victim.pod
  if (value === '$CONTAINER') return victim.container
  if (Array.isArray(value)) return value.map((v) => withIds(v, victim))
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return value
  return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, withIds(v, victim)]))
}

/** Good requests, over which random fields go, so that not all of them fail at the first. */
function goodRequest(rpc: string, victim: Victim): object {
  const config = {
    ...s.podConfig('victim'),
    metadata: { name: 'fuzzed', namespace: 'n', uid: 'u', attempt: 0 },
  }
  if (rpc === 'RunPodSandbox') return { config }
  if (rpc === 'CreateContainer')
    return {
      podSandboxId: victim.pod,
      config: busybox({ container: 'fuzzed', command: ['true'] }),
      sandboxConfig: config,
    }
  if (rpc === 'ExecSync') return { containerId: victim.container, cmd: ['true'], timeout: 5n }
  if (rpc === 'UpdateContainerResources') return { containerId: victim.container, linux: { cpuShares: 512n } }
  return {}
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array)

/** The ways to all values that are not messages themselves. */
function leavesOf(value: unknown, way: readonly string[] = []): (readonly string[])[] {
  if (!isRecord(value)) return [way]
  return Object.entries(value).flatMap(([key, inner]) => leavesOf(inner, [...way, key]))
}

/** `good` with the one value at `way` taken from `wild`. */
function withOne(good: unknown, wild: unknown, way: readonly string[]): unknown {
  const [key, ...rest] = way
  if (key === undefined || !isRecord(wild)) return wild
  const base = isRecord(good) ? good : {}
  return { ...base, [key]: withOne(base[key], wild[key], rest) }
}

/** A good request with one or two of the wild values: the kind that gets far. */
function nearlyGood(good: object, wild: object, picks: readonly number[]): unknown {
  const leaves = leavesOf(wild)
  return picks.reduce<unknown>(
    (request, pick) => withOne(request, wild, leaves[pick % leaves.length] ?? []),
    good,
  )
}

function bytesOf(rpc: Rpc, request: unknown): Uint8Array {
  const codec: unknown = Reflect.get(v1, rpc.request)
  return (codec as { encode(m: unknown): { finish(): Uint8Array } }).encode(request).finish()
}

it('answers any request with a status, and has no bug', async () => {
  const known = await knownThings()
  const arbitraryOf = fuzzer(known)
  const weight = (name: string) => (name === 'RunPodSandbox' || name === 'CreateContainer' ? 12 : 1)
  const requests = fc.oneof(
    ...rpcs
      .filter((r) => !r.stream)
      .map((rpc) => ({
        weight: weight(rpc.name),
        arbitrary: fc.record({
          rpc: fc.constant(rpc),
          wild: arbitraryOf(rpc.request),
          picks: fc.array(fc.nat({ max: 999 }), { maxLength: 2 }),
        }),
      })),
  )
  const { pid } = s.daemon
  const codes = new Map<string, number>()
  const failures: string[] = []
  const one = async ({ rpc, wild, picks }: { rpc: Rpc; wild: object; picks: number[] }): Promise<void> => {
    const victim = await victimOf()
    const tame = picks.length > 0 && leavesOf(wild).length > 1
    const request = withIds(tame ? nearlyGood(goodRequest(rpc.name, victim), wild, picks) : wild, victim)
    const sent = s.client.callRaw(rpc.name, bytesOf(rpc, request), { deadlineMs: 30_000 })
    const { code, details } = (await outcomeOf(sent)) ?? { code: 'OK', details: '' }
    codes.set(`${rpc.name} ${code}`, (codes.get(`${rpc.name} ${code}`) ?? 0) + 1)
    const reason = code === 'UNKNOWN' && /^[A-Z][A-Za-z]+: /.test(details)
    if (!allowed.has(code) && !reason) throw new Error(`${rpc.name}: ${code}: ${details}`)
    if (code === 'INTERNAL') failures.push(`${rpc.name}: ${details}`)
    const bugs = s.daemon.events('bug')
    if (bugs.length > 0) throw new Error(`${rpc.name} met a bug: ${JSON.stringify(bugs[0])}`)
    if (s.daemon.pid !== pid) throw new Error(`${rpc.name} ended the daemon`)
  }
  // The time limit leaves the last run under way: what it makes on the host has to be there before the pods go.
  let last: Promise<void> = Promise.resolve()
  const property = fc.asyncProperty(requests, (request) => {
    last = one(request)
    return last
  })
  const seed = Number(process.env.GANTRY_TEST_SEED ?? Date.now() % 2 ** 31)
  await fc.assert(property, {
    seed,
    numRuns: 1_000_000,
    interruptAfterTimeLimit: runMs,
    markInterruptAsFailure: false,
    endOnFailure: true,
  })
  await last
  const total = [...codes.values()].reduce((a, b) => a + b, 0)
  const ok = [...codes].reduce((sum, [key, n]) => sum + (key.endsWith(' OK') ? n : 0), 0)
  console.log([`seed ${seed}: ${total} requests, ${ok} carried out`, ...new Set(failures)].join('\n'))
  expect(total).toBeGreaterThan(100)
  for (const name of ['RunPodSandbox', 'CreateContainer'])
    expect(codes.get(`${name} OK`), name).toBeGreaterThan(0)
  expect((await s.client.call('Version', {})).runtimeName).toBe('gantry')
}, 120_000)

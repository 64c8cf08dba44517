// SPDX-License-Identifier: Apache-2.0
/**
 * The network with real processes but stand-in plugins: cancelling, deadlines, a daemon killed during ADD, many
 * at once. Needs no root. Leaves no process behind: each test asserts that of the ones it made.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from 'vitest'
import { Fault } from '../../src/base/fault.ts'
import { silent } from '../../src/base/log.ts'
import { readStartTicks } from '../../src/host/cni/leftover.ts'
import { createNetwork, type PodNetworkRequest } from '../../src/host/cni/network.ts'
import { addon, openPipes, openScope, runs, standIn } from '../support/cni-fp.ts'
import { expectNoLeaks, type Snapshot, snapshot } from '../support/leak-check.ts'

const native = addon()
/** A namespace to name; the stand-in does not enter it. */
const NETNS = '/proc/self/ns/net'
const RESULT = JSON.stringify({ cniVersion: '1.0.0', ips: [{ address: '10.0.0.2/24' }] })
const request = (podId: string): PodNetworkRequest => ({
  podId,
  netns: NETNS,
  podName: 'n',
  podNamespace: 's',
  podUid: 'u',
  portMappings: [],
  annotations: {},
})

let atStart: Snapshot
beforeAll(async () => {
  atStart = await snapshot({ roots: [join(tmpdir(), 'gt-cni-')], linkPrefixes: ['gtbr'] })
})
afterAll(async () => {
  await expectNoLeaks(atStart)
})

async function setUp(pluginDeadlineMs = 30_000) {
  const root = await mkdtemp(join(tmpdir(), 'gt-cni-'))
  onTestFinished(() => rm(root, { recursive: true, force: true }))
  const confDir = join(root, 'conf')
  const binDir = join(root, 'bin')
  const stateDir = join(root, 'state')
  await mkdir(confDir)
  await mkdir(stateDir)
  const plugins = [{ type: 'gt-one' }, { type: 'gt-two' }]
  await writeFile(
    join(confDir, 'a.conflist'),
    JSON.stringify({ cniVersion: '1.0.0', name: 'gtnet', plugins }),
  )
  const plugin = await standIn(binDir, ['gt-one', 'gt-two'])
  await plugin.rule('gt-one', 'ADD', 'out', RESULT)
  await plugin.rule('gt-two', 'ADD', 'out', RESULT)
  const network = createNetwork({ native, log: silent }, { confDir, binDirs: [binDir], pluginDeadlineMs })
  const called = async () => (await plugin.calls()).map((c) => `${c.command} ${c.plugin}`)
  return { root, confDir, binDir, stateDir, plugin, network, called }
}

const waitForChild = (plugin: { childOf(i: number): Promise<number | undefined> }) =>
  vi.waitFor(async () => {
    const pid = await plugin.childOf(0)
    if (pid === undefined || Number.isNaN(pid)) throw new Error('the plugin does not hang yet')
    return pid
  }, 5_000)

test('attach and detach reach the programs as the specification says', async () => {
  const t = await setUp()
  const pipes = await openPipes()
  const result = await t.network.attach(openScope(), request('gtpod'), t.stateDir)
  expect(result.ips).toEqual(['10.0.0.2'])
  await t.network.detach(openScope(), t.stateDir)
  expect(await t.called()).toEqual(['ADD gt-one', 'ADD gt-two', 'DEL gt-two', 'DEL gt-one'])
  const [first] = await t.plugin.calls()
  expect(first?.env).toEqual(
    expect.arrayContaining([
      'CNI_COMMAND=ADD',
      'CNI_CONTAINERID=gtpod',
      'CNI_IFNAME=eth0',
      `CNI_NETNS=${NETNS}`,
      `CNI_PATH=${t.binDir}`,
      'CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=s;K8S_POD_NAME=n;K8S_POD_INFRA_CONTAINER_ID=gtpod;K8S_POD_UID=u',
    ]),
  )
  expect(JSON.parse(first?.stdin ?? '')).toEqual({ cniVersion: '1.0.0', name: 'gtnet', type: 'gt-one' })
  expect(existsSync(join(t.stateDir, 'cni.json'))).toBe(false)
  expect(existsSync(join(t.stateDir, 'cni-plugin.json'))).toBe(false)
  await vi.waitFor(async () => expect(await openPipes()).toBe(pipes), 2_000)
})

test('a cancelled attach has ended the plugin and its children when it throws; detach then cleans up', async () => {
  const t = await setUp()
  await t.plugin.rule('gt-two', 'ADD', 'hang', '20')
  const controller = new AbortController()
  const attaching = t.network.attach(openScope(controller.signal), request('gtpod'), t.stateDir)
  attaching.catch(() => {})
  const child = await waitForChild(t.plugin)
  controller.abort(new Fault('cancelled', 'the client left'))
  await expect(attaching).rejects.toMatchObject({
    kind: 'cancelled',
    message: 'attach pod gtpod to network gtnet: CNI plugin gt-two (ADD): the client left',
  })
  expect((await t.plugin.calls()).map((c) => c.pid).length).toBe(2)
  for (const { pid } of await t.plugin.calls()) expect(await runs(pid)).toBe(false)
  await vi.waitFor(async () => expect(await runs(child)).toBe(false), 2_000)
  await t.network.detach(openScope(), t.stateDir)
  expect((await t.called()).slice(2)).toEqual(['DEL gt-two', 'DEL gt-one'])
})

test('a plugin that hangs and is deaf to TERM is killed after the deadline', async () => {
  const t = await setUp(300)
  await t.plugin.rule('gt-one', 'ADD', 'hang', '20')
  await t.plugin.rule('gt-one', 'ADD', 'ignore-term')
  const attaching = t.network.attach(openScope(), request('gtpod'), t.stateDir)
  attaching.catch(() => {})
  const child = await waitForChild(t.plugin)
  await expect(attaching).rejects.toMatchObject({
    kind: 'timeout',
    message: expect.stringMatching(/after 300 ms/),
  })
  await vi.waitFor(async () => expect(await runs(child)).toBe(false), 2_000)
})

test('a daemon killed during ADD: its plugin still runs, and detach ends it before the first DEL', async () => {
  const t = await setUp()
  await t.plugin.rule('gt-two', 'ADD', 'hang', '20')
  await t.plugin.rule('gt-two', 'ADD', 'ignore-term')
  const script = fileURLToPath(new URL('../support/cni-fp-daemon.ts', import.meta.url))
  const daemon = spawn(process.execPath, [script, t.confDir, t.binDir, t.stateDir, NETNS], {
    stdio: 'inherit',
  })
  const child = await waitForChild(t.plugin)
  daemon.kill('SIGKILL')
  await once(daemon, 'exit')
  const orphan = (await t.plugin.calls())[1]?.pid ?? 0
  expect(await runs(orphan)).toBe(true)
  expect(await t.network.recall(t.stateDir)).toBeUndefined()
  await t.network.detach(openScope(), t.stateDir)
  expect([await runs(orphan), await runs(child)]).toEqual([false, false])
  expect(await t.called()).toEqual(['ADD gt-one', 'ADD gt-two', 'DEL gt-two', 'DEL gt-one'])
  expect(existsSync(join(t.stateDir, 'cni.json'))).toBe(false)
})

test.each([
  ['another start time', { startTicks: '1' }],
  ['another boot', { bootId: '00000000-0000-0000-0000-000000000000' }],
])('a noted pid with %s is somebody else and is left alone', async (_, difference) => {
  const t = await setUp()
  await t.network.attach(openScope(), request('gtpod'), t.stateDir)
  const bystander = spawn('/bin/sleep', ['60'], { detached: true, stdio: 'ignore' })
  const pid = bystander.pid ?? 0
  try {
    const bootId = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim()
    const noted = { pid, bootId, startTicks: readStartTicks(native, pid), ...difference }
    await writeFile(join(t.stateDir, 'cni-plugin.json'), JSON.stringify(noted))
    await t.network.detach(openScope(), t.stateDir)
    expect(await runs(pid)).toBe(true)
  } finally {
    bystander.kill('SIGKILL')
  }
})

test('what a daemon left on disk is what the next one recalls', async () => {
  const t = await setUp()
  const result = await t.network.attach(
    openScope(),
    { ...request('gtpod'), annotations: { a: '5n' } },
    t.stateDir,
  )
  const next = createNetwork({ native, log: silent }, { confDir: t.confDir, binDirs: [t.binDir] })
  expect(await next.recall(t.stateDir)).toEqual(result)
})

test('sixteen pods at once do not mix', async () => {
  const t = await setUp()
  const pods = Array.from({ length: 16 }, (_, i) => ({
    podId: `gtpod${i}`,
    stateDir: join(t.root, `state${i}`),
  }))
  await Promise.all(
    pods.map(async ({ podId, stateDir }) => {
      await mkdir(stateDir)
      await t.network.attach(openScope(), request(podId), stateDir)
      await t.network.detach(openScope(), stateDir)
    }),
  )
  const calls = await t.plugin.calls()
  for (const { podId } of pods) {
    const own = calls.filter((c) => c.env.includes(`CNI_CONTAINERID=${podId}`))
    expect(own.map((c) => `${c.command} ${c.plugin}`)).toEqual([
      'ADD gt-one',
      'ADD gt-two',
      'DEL gt-two',
      'DEL gt-one',
    ])
  }
  for (const { pid } of calls) expect(await runs(pid)).toBe(false)
})

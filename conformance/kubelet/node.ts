// SPDX-License-Identifier: Apache-2.0
/**
 * node: the daemon and a real kubelet on it, as the suites here use them: manifests go in, the state of the pods
 * comes out, as the kubelet tells it. At the end every manifest is taken away, and what kubelet or runtime left on
 * the host after that is a failure.
 */
import { execFile } from 'node:child_process'
import { readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { names } from '../../test/images/catalog.ts'
import { waitUntil } from '../../test/support/child.ts'
import { execSync } from '../../test/support/cri-requests.ts'
import { expectNoLeaks } from '../../test/support/leak-check.ts'
import { type Scenario, type ScenarioOptions, startScenario } from '../../test/support/scenario.ts'
import { type Kubelet, nodeName, startKubelet } from './kubelet.ts'

interface Ended {
  readonly exitCode: number
  readonly reason?: string
  readonly message?: string
  readonly startedAt?: string
  readonly finishedAt?: string
}

interface State {
  readonly waiting?: { readonly reason?: string; readonly message?: string }
  readonly running?: { readonly startedAt: string }
  readonly terminated?: Ended
}

export interface ContainerStatus {
  readonly name: string
  readonly ready: boolean
  readonly started?: boolean
  readonly restartCount: number
  readonly containerID?: string
  readonly image?: string
  readonly state: State
  readonly lastState: State
}

export interface PodStatus {
  readonly phase?: string
  readonly reason?: string
  readonly message?: string
  readonly podIP?: string
  readonly conditions?: readonly { readonly type: string; readonly status: string }[]
  readonly containerStatuses?: readonly ContainerStatus[]
  readonly initContainerStatuses?: readonly ContainerStatus[]
}

/** What a manifest may have beside its name and containers: fields of `spec`, written as the API has them. */
export type Fields = Readonly<Record<string, unknown>>

export interface Container extends Fields {
  readonly name: string
}

/** A busybox container that runs a shell script. */
export function container(name: string, script: string, more: Fields = {}): Container {
  const probe = { image: names.busybox, imagePullPolicy: 'IfNotPresent' }
  return { name, ...probe, command: ['sh', '-c', script], ...more }
}

/** A script that stays until it is told to end, at once. */
export const stay = 'trap "exit 0" TERM; while :; do sleep 0.2; done'

export interface Node {
  readonly scenario: Scenario
  readonly kubelet: Kubelet
  /** Writes the manifest of a pod; the kubelet takes it up within a second. */
  put(name: string, containers: readonly Container[], spec?: Fields, metadata?: Fields): Promise<void>
  /** Takes the manifest away; resolves when nothing of the pod runs any more. */
  remove(name: string): Promise<void>
  /** What the kubelet says of a pod; undefined before it knows it. */
  status(name: string): Promise<PodStatus | undefined>
  /** Waits until the status is as wanted and gives it. Rejects with the last one. */
  until(name: string, wanted: (s: PodStatus) => boolean, withinMs?: number): Promise<PodStatus>
  /** The log of a container by the kubelet's API; `query` as `previous=true`. */
  log(name: string, container: string, query?: string): Promise<string>
  /** Waits until that log has the text, and gives it. */
  logged(name: string, container: string, text: string | RegExp): Promise<string>
  /** Runs a script in a running container; the output of one that fails is in the error. */
  sh(name: string, container: string, script: string): Promise<string>
  end(): Promise<void>
}

/** The status of a container, of an init container too; of one that the kubelet has not come to, the bare name. */
export function of(s: PodStatus, name: string): ContainerStatus {
  const all = [...(s.containerStatuses ?? []), ...(s.initContainerStatuses ?? [])]
  return all.find((c) => c.name === name) ?? { name, ready: false, restartCount: 0, state: {}, lastState: {} }
}

/** Its ID as the runtime has it. */
export const idOf = (s: PodStatus, name: string): string =>
  (of(s, name).containerID ?? '').replace(/^.*:\/\//, '')

const conditionOf = (s: PodStatus, type: string): string | undefined =>
  s.conditions?.find((c) => c.type === type)?.status

export const isReady = (s: PodStatus): boolean => conditionOf(s, 'Ready') === 'True'
export const isOver = (s: PodStatus): boolean => s.phase === 'Succeeded' || s.phase === 'Failed'

/** GET or POST with curl: the kubelet's certificate is its own. Rejects unless the answer is a success. */
async function asked(url: string, ...flags: readonly string[]): Promise<string> {
  const args = ['--silent', '--show-error', '--insecure', '--fail-with-body', ...flags, url]
  return promisify(execFile)('curl', args, { maxBuffer: 1 << 26 }).then(
    ({ stdout }) => stdout,
    (e: unknown) => {
      throw new Error(`${url}: ${Reflect.get(Object(e), 'stdout')}${Reflect.get(Object(e), 'stderr')}`)
    },
  )
}

/** `default`, where all pods of the suites are, and a pod's name as the kubelet has it. */
export const placeOf = (name: string, container: string): string => `default/${name}-${nodeName}/${container}`

async function podsOf(kubelet: Kubelet): Promise<ReadonlyMap<string, PodStatus>> {
  const reply = await fetch(`${kubelet.plain}/pods`)
  const list: { items?: { metadata: { name: string }; status: PodStatus }[] | null } = JSON.parse(
    await reply.text(),
  )
  return new Map((list.items ?? []).map((p) => [p.metadata.name.slice(0, -nodeName.length - 1), p.status]))
}

async function statusUntil(
  kubelet: Kubelet,
  name: string,
  wanted: (s: PodStatus) => boolean,
  withinMs: number,
): Promise<PodStatus> {
  const endMs = performance.now() + withinMs
  for (;;) {
    const status = (await podsOf(kubelet)).get(name)
    if (status !== undefined && wanted(status)) return status
    if (performance.now() > endMs)
      throw new Error(`pod ${name}: not within ${withinMs} ms, but ${JSON.stringify(status, undefined, 1)}`)
    await sleep(200)
  }
}

function nodeOf(scenario: Scenario, kubelet: Kubelet): Node {
  const manifest = (name: string): string => join(kubelet.manifests, `${name}.json`)
  const log = (name: string, ctr: string, query = ''): Promise<string> =>
    asked(`${kubelet.api}/containerLogs/${placeOf(name, ctr)}?${query}`)
  /** No container runs and no sandbox is ready: of one pod, or of all. */
  const down = (labelSelector: Record<string, string>): Promise<void> =>
    waitUntil(
      `no pod is up: ${JSON.stringify(labelSelector)}`,
      async () => {
        const { client } = scenario
        const { items } = await client.call('ListPodSandbox', {
          filter: { labelSelector, state: { state: 0 } },
        })
        const running = { filter: { labelSelector, state: { state: 1 } } }
        const { containers } = await client.call('ListContainers', running)
        return (items ?? []).length + (containers ?? []).length === 0
      },
      { withinMs: 60_000, everyMs: 200 },
    )
  return {
    scenario,
    kubelet,
    put: async (name, containers, spec = {}, metadata = {}) => {
      const pod = {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name, namespace: 'default', ...metadata },
        spec: { terminationGracePeriodSeconds: 2, containers, ...spec },
      }
      await writeFile(manifest(name), JSON.stringify(pod, undefined, 1))
    },
    remove: async (name) => {
      await rm(manifest(name))
      await down({ 'io.kubernetes.pod.name': `${name}-${nodeName}` })
    },
    status: async (name) => (await podsOf(kubelet)).get(name),
    until: (name, wanted, withinMs = 60_000) => statusUntil(kubelet, name, wanted, withinMs),
    log,
    logged: async (name, ctr, text) => {
      let last = ''
      const has = async (): Promise<boolean> => {
        last = await log(name, ctr).catch(String)
        return typeof text === 'string' ? last.includes(text) : text.test(last)
      }
      await waitUntil(`${name}/${ctr} logs ${text}`, has, { withinMs: 60_000, everyMs: 200 }).catch(
        (e: Error) => {
          throw new Error(`${e.message}, but: ${last}`)
        },
      )
      return last
    },
    sh: async (name, ctr, script) => {
      const status = await statusUntil(kubelet, name, (p) => of(p, ctr).state.running !== undefined, 60_000)
      const { stdout, stderr, exitCode } = await execSync(scenario.client, idOf(status, ctr), [
        'sh',
        '-c',
        script,
      ])
      if (exitCode !== 0) throw new Error(`${script}: exit ${exitCode}: ${stdout}${stderr}`)
      return stdout
    },
    end: async () => {
      for (const file of await readdir(kubelet.manifests)) await rm(join(kubelet.manifests, file))
      try {
        await down({})
      } finally {
        await sleep(3000) // the kubelet's housekeeping takes the cgroups and the volumes away, every 2 s
        await kubelet.stop()
        await scenario.end(async (before) => {
          await kubelet.clean()
          await expectNoLeaks(before)
        })
      }
    },
  }
}

/** Daemon, registry and kubelet. On failure nothing of it is left. */
export async function startNode(options: ScenarioOptions = {}): Promise<Node> {
  const scenario = await startScenario(options)
  const { root, socket, cgroupParent } = scenario.workspace
  try {
    const kubelet = await startKubelet({ dir: join(root, 'kubelet'), socket, cgroup: cgroupParent })
    return nodeOf(scenario, kubelet)
  } catch (e) {
    await scenario.workspace.remove()
    await scenario.end(() => Promise.resolve()).catch(() => undefined)
    throw e
  }
}

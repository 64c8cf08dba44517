// SPDX-License-Identifier: Apache-2.0
/**
 * kubelet: a real kubelet without an API server, on a runtime's socket: it runs the pods whose manifests lie in a
 * folder. All it makes lies below one folder and one cgroup; what it would write elsewhere (kernel parameters,
 * folders below /var) meets a private mount namespace. `stop` ends it and leaves its pods running, `clean` takes
 * off the host what it mounts and makes. Its log is written to the file that `KUBELET_LOG` names.
 */
import { execFile } from 'node:child_process'
import { mkdir, readdir, rm, rmdir, writeFile } from 'node:fs/promises'
import { networkInterfaces } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { freePort, type OwnedChild, startChild, waitUntil } from '../../test/support/child.ts'
import { cgroupMounts, mounts, under } from '../../test/support/host-view.ts'

const run = promisify(execFile)
const programs = join(dirname(import.meta.dirname), 'bin')
/** The version that is built and run unless `KUBELET_VERSION` names another folder of pins. */
export const kubeletVersion = process.env.KUBELET_VERSION ?? 'v1.36'

/** What the node is called; the name of a static pod ends with it. */
export const nodeName = 'node1'

export interface KubeletPlace {
  /** The kubelet's own folder, made if absent; shared mounts propagate from it to the host. */
  readonly dir: string
  readonly socket: string
  /** The cgroup above all pods, which is there. */
  readonly cgroup: string
}

export interface Kubelet {
  readonly manifests: string
  readonly logs: string
  /** `https://127.0.0.1:PORT` */
  readonly api: string
  /** Read-only, without TLS. */
  readonly plain: string
  readonly log: readonly string[]
  /** Ends it and starts it again, with more of its configuration if given. Its pods are not touched. */
  restart(more?: Readonly<Record<string, unknown>>): Promise<void>
  /** Ends it as an upgrade does: TERM. */
  stop(): Promise<void>
  /** After `stop`: its mounts, its cgroups and its folder. Rejects when a cgroup of a pod is still there. */
  clean(): Promise<void>
}

/** Kernel parameters the kubelet sets, or, told to protect them, demands. */
const demanded = {
  'vm/overcommit_memory': 1,
  'vm/panic_on_oom': 0,
  'kernel/panic': 10,
  'kernel/panic_on_oops': 1,
  'kernel/keys/root_maxkeys': 1_000_000,
  'kernel/keys/root_maxbytes': 25_000_000,
}

/** Runs in a new mount namespace: hides what the kubelet would write, then becomes it. */
const wrapper = `set -e
sysctl=$1; shift
for dir in /proc /var/lib /var/log; do mount --make-slave "$(stat -c %m $dir)"; done
for name in ${Object.keys(demanded).join(' ')}; do mount --bind "$sysctl/$name" /proc/sys/$name; done
for dir in /var/lib /var/log; do mount -t tmpfs -o mode=0755 none $dir; done
exec "$@"`

function nodeAddress(): string {
  const all = Object.values(networkInterfaces()).flatMap((list) => list ?? [])
  const found = all.find((a) => !a.internal && a.family === 'IPv4')
  if (found === undefined)
    throw new Error('no interface but loopback has an IPv4 address: the kubelet needs one')
  return found.address
}

function configuration(p: KubeletPlace, ports: readonly [number, number]): Readonly<Record<string, unknown>> {
  return {
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    containerRuntimeEndpoint: `unix://${p.socket}`,
    staticPodPath: join(p.dir, 'manifests'),
    podLogsDir: join(p.dir, 'logs'),
    volumePluginDir: join(p.dir, 'volume-plugins'),
    address: '127.0.0.1',
    port: ports[0],
    readOnlyPort: ports[1],
    healthzPort: 0,
    authentication: { anonymous: { enabled: true }, webhook: { enabled: false } },
    authorization: { mode: 'AlwaysAllow' },
    registerNode: false,
    enableControllerAttachDetach: false,
    cgroupDriver: 'cgroupfs',
    cgroupRoot: p.cgroup,
    cgroupsPerQOS: true,
    enforceNodeAllocatable: ['none'],
    failCgroupV1: false,
    failSwapOn: false,
    protectKernelDefaults: true,
    makeIPTablesUtilChains: false,
    oomScoreAdj: 0,
    evictionHard: { 'memory.available': '0%', 'nodefs.available': '0%', 'imagefs.available': '0%' },
    imageGCHighThresholdPercent: 100,
    fileCheckFrequency: '1s',
    syncFrequency: '2s',
    volumeStatsAggPeriod: '5s',
    crashLoopBackOff: { maxContainerRestartPeriod: '2s' },
    containerLogMaxSize: '16Ki',
    containerLogMaxFiles: 5,
    containerLogMonitorInterval: '3s',
  }
}

async function prepare(p: KubeletPlace): Promise<void> {
  for (const dir of ['manifests', 'logs', 'root']) await mkdir(join(p.dir, dir), { recursive: true })
  for (const [name, value] of Object.entries(demanded)) {
    await mkdir(dirname(join(p.dir, 'sysctl', name)), { recursive: true })
    await writeFile(join(p.dir, 'sysctl', name), `${value}\n`)
  }
  const root = join(p.dir, 'root')
  await run('mount', ['--bind', root, root])
  await run('mount', ['--make-shared', root])
}

/** What kubelet and runtime leave of the pods' cgroups is empty once all pods are gone. */
async function removeCgroups(cgroup: string): Promise<void> {
  for (const mount of await cgroupMounts())
    for (const part of ['kubepods/besteffort', 'kubepods/burstable', 'kubepods']) {
      const dir = join(mount, cgroup, part)
      const entries = await readdir(dir, { withFileTypes: true }).catch(() => undefined)
      if (entries === undefined) continue
      const left = entries.filter((e) => e.isDirectory()).map((e) => e.name)
      if (left.length > 0) throw new Error(`${dir} still holds ${left.join(', ')}`)
      await rmdir(dir)
    }
}

/** Starts it and waits until it serves its API; its own folder holds what `KubeletPlace` says. */
export async function startKubelet(place: KubeletPlace): Promise<Kubelet> {
  await prepare(place)
  const ports = [await freePort(), await freePort()] as const
  const file = join(place.dir, 'kubelet.json')
  const plain = `http://127.0.0.1:${ports[1]}`
  const log: string[] = []
  const once = (): Promise<OwnedChild> =>
    startChild('unshare', [
      ...['--mount', '--propagation', 'unchanged', 'sh', '-c', wrapper, 'sh', join(place.dir, 'sysctl')],
      ...[
        join(programs, `kubelet-${kubeletVersion}`),
        '--config',
        file,
        '--root-dir',
        join(place.dir, 'root'),
      ],
      ...['--hostname-override', nodeName, '--node-ip', nodeAddress(), '--v', '2'],
    ])
  /** It ends at once when the runtime is not there, and is then started again, as systemd would. */
  const start = async (more: Readonly<Record<string, unknown>>): Promise<OwnedChild> => {
    await writeFile(file, JSON.stringify({ ...configuration(place, ports), ...more }, undefined, 1))
    let now = await once()
    const ready = async (): Promise<boolean> => {
      const answer = await Promise.race([
        now.exited,
        fetch(`${plain}/pods`).then(
          (r) => r.ok,
          () => false,
        ),
      ])
      if (typeof answer === 'boolean') return answer
      log.push(...now.lines)
      now = await once()
      return false
    }
    const times = { withinMs: 30_000, everyMs: 200 }
    await waitUntil('the kubelet serves its API', ready, times).catch(async (e: unknown) => {
      await now.end()
      throw new Error(now.tail(), { cause: e })
    })
    return now
  }
  let child = await start({})
  const stop = async (): Promise<void> => {
    await child.end(10_000)
    log.push(...child.lines)
    if (process.env.KUBELET_LOG !== undefined) await writeFile(process.env.KUBELET_LOG, log.join('\n'))
  }
  return {
    manifests: join(place.dir, 'manifests'),
    logs: join(place.dir, 'logs'),
    api: `https://127.0.0.1:${ports[0]}`,
    plain,
    get log() {
      return [...log, ...child.lines]
    },
    restart: async (more = {}) => {
      await stop()
      child = await start(more)
    },
    stop,
    clean: async () => {
      const points = (await mounts()).map((m) => m.mountPoint).filter((at) => under(at, [place.dir]))
      for (const point of points.reverse()) await run('umount', [point])
      await removeCgroups(place.cgroup)
      await rm(place.dir, { recursive: true, force: true })
    },
  }
}

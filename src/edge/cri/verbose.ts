// SPDX-License-Identifier: Apache-2.0
/**
 * The `info` of verbose answers: what crictl inspect and people's scripts read beyond the CRI. Its keys are those of
 * peers where they have the same thing; no credentials are known here.
 */
import type { RuntimeDetails } from '../../engine/details.ts'
import type { Engine } from '../../engine/index.ts'
import { type Container, containerPid } from '../../model/container.ts'
import { type Pod, podResources } from '../../model/pod.ts'
import { containerConfigJson, podConfigJson } from './encode/config.ts'

const SNAPSHOTTER = 'overlayfs'

/** JSON for `crictl inspect*`: bigints as numbers where they are exact, else as text. */
export function info(value: object): string {
  return JSON.stringify(value, (_key, v: unknown) => {
    if (typeof v !== 'bigint') return v
    return v <= BigInt(Number.MAX_SAFE_INTEGER) && v >= -BigInt(Number.MAX_SAFE_INTEGER)
      ? Number(v)
      : v.toString()
  })
}

const runtimeInfo = ({ facts }: Engine, r: RuntimeDetails | undefined) => ({
  runtimeType: r?.kind ?? '',
  runtimeOptions: r && {
    BinaryName: r.path,
    Root: r.root,
    SystemdCgroup: facts.cgroupDriver === 'systemd',
  },
})

/** JSON of one object; what cannot be found any more is absent. @abort finishes */
export async function containerInfo(engine: Engine, c: Container): Promise<string> {
  const { record, state } = c
  const { spec, rootfs, runtime } = await engine.containers.details(c)
  return info({
    sandboxID: record.pod,
    pid: containerPid(c) ?? 0,
    removing: false,
    snapshotKey: record.id,
    snapshotter: SNAPSHOTTER,
    ...runtimeInfo(engine, runtime),
    runtimeHandler: record.handler,
    rootfs,
    cgroup: record.cgroup,
    privileged: record.config.security.privileged,
    state,
    config: containerConfigJson(c),
    runtimeSpec: spec,
  })
}

/** The same for a pod. @abort finishes */
export async function podInfo(engine: Engine, pod: Pod): Promise<string> {
  const { record, state } = pod
  const { spec, netns, cni, runtime } = await engine.pods.details(pod)
  const [ip = '', ...additionalIps] = state.phase === 'ready' ? state.ips : []
  const cniResult = cni && cniInfo(cni)
  const config = podConfigJson(pod)
  return info({
    pid: podPid(engine, pod),
    processStatus: state.phase === 'ready' ? 'running' : 'deleted',
    netNamespaceClosed: netns !== '' && state.phase !== 'ready',
    image: '',
    snapshotKey: record.id,
    snapshotter: SNAPSHOTTER,
    runtimeHandler: record.handler,
    ...runtimeInfo(engine, runtime),
    cgroup: record.cgroup,
    state,
    ...podResources(pod),
    config,
    runtimeSpec: spec,
    cniResult,
    sandboxMetadata: {
      Version: 'v1',
      Metadata: {
        ID: record.id,
        Name: Object.values(record.config.metadata).join('_'),
        Config: config,
        NetNSPath: netns,
        IP: ip,
        AdditionalIPs: additionalIps,
        RuntimeHandler: record.handler,
        CNIResult: cniResult,
      },
    },
  })
}

/** A pod seldom has a process of its own: then a container's, which is in the pod's namespaces too (`nsenter -t`). */
function podPid(engine: Engine, pod: Pod): number {
  const { state } = pod
  if (state.phase === 'ready' && state.pause) return state.pause.pid
  const running = engine.pods.containersOf(pod).find((c) => c.state.phase === 'running')
  return (running && containerPid(running)) ?? 0
}

type Json = Readonly<Record<string, unknown>>
const objects = (value: unknown): readonly Json[] =>
  (Array.isArray(value) ? value : []).filter((v): v is Json => typeof v === 'object' && v !== null)

/** A result of CNI in the form of the library that others keep it in: by the name of the interface. */
function cniInfo(result: Json): object {
  const ips = objects(result.ips)
  const interfaces = objects(result.interfaces).map((i, index) => [
    String(i.name),
    {
      IPConfigs: ips
        .filter((ip) => ip.interface === index)
        .map((ip) => ({ IP: String(ip.address).split('/')[0], Gateway: ip.gateway ?? '' })),
      Mac: i.mac ?? '',
      Sandbox: i.sandbox ?? '',
      PciID: i.pciID ?? '',
      SocketPath: i.socketPath ?? '',
    },
  ])
  return {
    Interfaces: Object.fromEntries(interfaces),
    DNS: result.dns === undefined ? [] : [result.dns],
    Routes: result.routes ?? [],
  }
}

// SPDX-License-Identifier: Apache-2.0
/**
 * fake-host-books: a machine that is not there, as books: namespaces, mounts, cgroups, network attachments,
 * runtime containers, monitors, processes. Outlives the daemon. Keeps the rules that a kernel, a runtime and a
 * CNI plugin keep, and writes down every act that would have damaged a real one. Files are real (fake-host).
 */
import { existsSync, readdirSync } from 'node:fs'
import type { ImageRecord } from '../../src/model/image.ts'
import type { ProcessId } from '../../src/model/pod.ts'
import type { Digest, ImageId } from '../../src/model/reference.ts'

export const BOOT = 'boot-1'

export interface FakeProcess {
  readonly pid: number
  readonly startTicks: bigint
  readonly what: string
  readonly cgroup: string | undefined
  alive: boolean
  readonly onEnd: ((signal: number) => void)[]
}

export interface RuntimeContainer {
  readonly cgroup: string
  readonly bundle: string
  readonly process: FakeProcess
  status: 'created' | 'running' | 'stopped'
  resources: object | undefined
}

export interface FakeMonitor {
  readonly id: string
  readonly process: FakeProcess
  /** The container's first process, once the runtime has made it. */
  init: FakeProcess | undefined
  readonly closed: Promise<void>
  readonly close: () => void
}

/** cgroups that are there before the daemon is, as the kubelet's are. */
const CGROUPS = ['/', '/gantry', '/kubepods', '/kubepods/pod1']

export class Books {
  bootId = BOOT
  readonly pins = new Set<string>()
  readonly shm = new Set<string>()
  readonly mounts = new Map<string, { readonly upper: string }>()
  readonly cgroups = new Set<string>(CGROUPS)
  /** Folder of the attachment's record → pod id and address. */
  readonly attachments = new Map<
    string,
    { readonly podId: string; readonly ip: string; readonly ports: boolean }
  >()
  /** Pod id → ports of the node that lead to it. */
  hostports = new Map<string, string>()
  readonly runtimes = new Map<string, RuntimeContainer>()
  /** Control socket → monitor. */
  readonly monitors = new Map<string, FakeMonitor>()
  readonly processes = new Map<number, FakeProcess>()
  readonly violations: string[] = []
  /** How often each verb did something: `monitors.start`, `network.attach`, … */
  readonly did = new Map<string, number>()
  /** Images held by a creation in flight. */
  holds = 0
  readonly imageRecords = new Map<ImageId, ImageRecord>()
  readonly layers = new Set<Digest>()
  /** Layers that a container has mounted. */
  readonly mountedLayers = new Set<Digest>()
  layerTrash = 0
  nowNs = 1n
  /** Work of the machine itself (a monitor that writes its exit file). */
  busy = 0
  #next = 1000

  count(verb: string): number {
    return this.did.get(verb) ?? 0
  }

  note(verb: string): void {
    this.did.set(verb, this.count(verb) + 1)
  }

  violated(what: string): void {
    this.violations.push(what)
  }

  newProcess(what: string, cgroup?: string): FakeProcess {
    const pid = this.#next++
    const process: FakeProcess = { pid, startTicks: BigInt(pid) * 10n, what, cgroup, alive: true, onEnd: [] }
    this.processes.set(pid, process)
    return process
  }

  identity(p: FakeProcess): ProcessId {
    return { bootId: this.bootId, pid: p.pid, startTicks: p.startTicks }
  }

  /** The live process with this identity. */
  processOf(id: ProcessId): FakeProcess | undefined {
    const p = this.processes.get(id.pid)
    return p?.alive && p.startTicks === id.startTicks && id.bootId === this.bootId ? p : undefined
  }

  end(p: FakeProcess, signal: number): void {
    if (!p.alive) return
    p.alive = false
    this.processes.delete(p.pid)
    for (const told of p.onEnd) told(signal)
  }

  /** mkdir -p in every hierarchy. */
  makeCgroup(path: string): void {
    const parts = path.split('/').filter((p) => p !== '')
    for (let i = 1; i <= parts.length; i++) this.cgroups.add(`/${parts.slice(0, i).join('/')}`)
  }

  /** rmdir of the cgroup and all below; EBUSY while a process is in one of them. */
  removeCgroup(path: string): void {
    const within = (c: string | undefined) => c !== undefined && (c === path || c.startsWith(`${path}/`))
    const inside = [...this.processes.values()].find((p) => within(p.cgroup))
    if (inside) throw Object.assign(new Error(`EBUSY: ${inside.what} is in ${path}`), { code: 'EBUSY' })
    if (CGROUPS.some(within)) this.violated(`cgroup ${path} is not ours and was removed`)
    for (const c of [...this.cgroups]) if (within(c)) this.cgroups.delete(c)
  }

  /** Everything mounted or pinned at or below a path. */
  mountedBelow(path: string): readonly string[] {
    const below = (m: string) => m === path || m.startsWith(`${path}/`)
    return [...this.pins, ...this.shm, ...this.mounts.keys()].filter(below)
  }

  /** The power is cut: what lives in memory is gone, what is on disk is not. */
  reboot(bootId: string): void {
    for (const p of this.processes.values()) p.alive = false
    this.processes.clear()
    for (const set of [this.pins, this.shm, this.mounts, this.runtimes, this.monitors, this.hostports])
      set.clear()
    for (const c of [...this.cgroups]) if (!CGROUPS.includes(c)) this.cgroups.delete(c)
    this.bootId = bootId
  }

  /** All that is there beyond an empty machine, one line a thing, sorted. */
  lines(folders: readonly string[]): readonly string[] {
    return [
      ...[...this.pins].map((p) => `pin ${p}`),
      ...[...this.shm].map((p) => `shm ${p}`),
      ...[...this.mounts.keys()].map((p) => `mount ${p}`),
      ...[...this.cgroups].filter((c) => !CGROUPS.includes(c)).map((c) => `cgroup ${c}`),
      ...[...this.attachments].map(([dir, a]) => `attachment ${a.ip} of ${dir}`),
      ...[...this.hostports].map(([pod, ports]) => `host ports ${ports} of ${pod}`),
      ...[...this.runtimes].map(([id, r]) => `runtime container ${id} ${r.status}`),
      ...[...this.monitors.keys()].map((m) => `monitor ${m}`),
      ...[...this.processes.values()].map((p) => `process ${p.what}`),
      ...folders.flatMap((f) => (existsSync(f) ? readdirSync(f).map((name) => `folder ${f}/${name}`) : [])),
      ...[...this.imageRecords.values()].map((r) => `image ${r.hidden?.why ?? r.repoTags}`),
      ...[...this.layers].map((l) => `layer ${l}`),
      ...(this.layerTrash === 0 ? [] : [`${this.layerTrash} layers in the trash`]),
      ...(this.holds === 0 ? [] : [`${this.holds} holds of an image`]),
    ].sort()
  }
}

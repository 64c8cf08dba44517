// SPDX-License-Identifier: Apache-2.0
/**
 * fake-host: the interface `Host` over books instead of a kernel. Files and folders are real ones below the
 * world's own root, so that records can be read back; everything else is in `Books`. Every verb is a step at
 * which a test can make something happen. Each daemon gets a host of its own over the same world.
 */
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { Fault } from '../../src/base/fault.ts'
import { readJson } from '../../src/base/json-file.ts'
import { silent } from '../../src/base/log.ts'
import { cdi } from '../../src/host/cdi.ts'
import { files as realFiles } from '../../src/host/files.ts'
import type {
  Cgroups,
  Files,
  Host,
  Hostports,
  Idmaps,
  ImageVolumes,
  Namespaces,
  Network,
  OciRuntime,
  Rootfs,
} from '../../src/host/index.ts'
import type { Native } from '../../src/host/native.ts'
import { readSeccompFile } from '../../src/host/security/seccomp-file.ts'
import type { HostFacts } from '../../src/model/facts.ts'
import { unixNanos } from '../../src/model/ids.ts'
import { folders, type Roots } from '../../src/model/names.ts'
import type { Books } from './fake-host-books.ts'
import { fakeMonitors, fakeProcesses, fakeRuntime, type Machine } from './fake-host-runtime.ts'

export interface World extends Machine {
  readonly roots: Roots
  readonly facts: HostFacts
}

const kind = 'finishes'
/** The name of a step: the last part of the path, with ids taken out. */
const short = (path: string) => (/^[0-9a-f]{64}$/.test(basename(path)) ? 'ID' : basename(path))

function fakeFiles({ books, steps, roots }: World): Files {
  const { trash, quarantine } = folders(roots)
  const below = (path: string) => {
    if (path !== roots.root && !path.startsWith(`${roots.root}/`) && !path.startsWith(`${roots.run}/`))
      books.violated(`${path} is not ours to change`)
  }
  const removeTree = async (path: string) => {
    below(path)
    const [busy] = books.mountedBelow(path)
    if (busy !== undefined) throw Object.assign(new Error(`EBUSY: ${busy}`), { code: 'EBUSY' })
    await rm(path, { recursive: true, force: true })
  }
  // Only what files.ts uses of the addon.
  const native = { removeTree } as unknown as Native
  const real = realFiles({ native, log: silent, trash, quarantine })
  const step = <T>(name: string, act: () => Promise<T>) => steps.step(`files.${name}`, { kind }, act)
  return {
    ensureFolders: (paths, mode) =>
      step(`ensureFolders ${paths.map(short).join(' ')}`, () => real.ensureFolders(paths, mode)),
    write: (path, text, mode) => step(`write ${short(path)}`, () => real.write(path, text, mode)),
    read: (path) => step(`read ${short(path)}`, () => real.read(path)),
    remove: (path) => step(`remove ${short(path)}`, () => real.remove(path)),
    names: (path) => step(`names ${short(path)}`, () => real.names(path)),
    drop: (path) =>
      step(`drop ${short(path)}`, async () => {
        below(path)
        if ([...books.mounts.values()].some((m) => m.upper.startsWith(`${path}/`)))
          books.violated(`${path} dropped while its writable layer is mounted`)
        await real.drop(path)
      }),
    removeTree: (path) => step(`removeTree ${short(path)}`, () => real.removeTree(path)),
    quarantine: (path) => step(`quarantine ${short(path)}`, () => real.quarantine(path)),
    // "Never throws", so nothing can be made of it but that it is late.
    emptyTrash: () => real.emptyTrash(),
    mountSource: (path, propagation) =>
      step(`mountSource ${short(path)}`, () => real.mountSource(path, propagation)),
    devices: (path) => step(`devices ${short(path)}`, () => real.devices(path)),
    prepareLog: (path) => step(`prepareLog ${short(path)}`, () => real.prepareLog(path)),
    own: (paths, owner) => step(`own ${paths.map(short).join(' ')}`, () => real.own(paths, owner)),
    copyProgram: (from, to) => step(`copyProgram ${short(to)}`, () => real.copyProgram(from, to)),
  }
}

function fakeNamespaces({ books, steps }: World): Namespaces {
  return {
    create: (scope, plan) =>
      steps.step('namespaces.create', { kind, scope, middle: true }, async (middle) => {
        const pins = [plan.net, plan.ipc, plan.uts, plan.user].filter((p) => p !== undefined)
        for (const [i, pin] of pins.entries()) {
          if (i > 0) await middle()
          await writeFile(pin, '')
          books.pins.add(pin)
        }
        books.note('namespaces.create')
      }),
    release: (scope, paths) =>
      steps.step('namespaces.release', { kind, scope }, async () => {
        const attached = books.attachments.has(paths.state) && !steps.faulty
        if (books.pins.has(paths.netns) && attached)
          books.violated(`namespaces of ${paths.run} released while the network is attached`)
        for (const pin of [paths.netns, paths.ipcns, paths.utsns, paths.userns]) {
          books.pins.delete(pin)
          await rm(pin, { force: true })
        }
      }),
    createShm: (scope, path) =>
      steps.step('namespaces.createShm', { kind, scope }, async () => {
        await mkdir(path, { recursive: true })
        books.shm.add(path)
      }),
    releaseShm: (scope, path) =>
      steps.step('namespaces.releaseShm', { kind, scope }, () => void books.shm.delete(path)),
  }
}

function fakeCgroups({ books, steps }: World): Cgroups {
  return {
    create: (scope, path) => steps.step('cgroups.create', { kind, scope }, () => books.makeCgroup(path)),
    remove: (scope, path) => steps.step('cgroups.remove', { kind, scope }, () => books.removeCgroup(path)),
    oomFiles: (path) => [`/sys/fs/cgroup${path}/memory.events:oom_kill`],
    kill: (scope, path) =>
      steps.step('cgroups.kill', { kind, scope }, () => {
        for (const p of [...books.processes.values()]) if (p.cgroup === path) books.end(p, 9)
      }),
    thaw: () => {},
    processes: async () => [],
    limit: (path, limits) =>
      steps.sync('cgroups.limit', () => {
        if (!books.cgroups.has(path)) throw new Error(`ENOENT: ${path}`)
        if (limits.length > 0) books.note(`limits ${limits.map((l) => `${l.file}=${l.value}`).join(' ')}`)
      }),
    saved: () => [],
    restore: () => steps.sync('cgroups.restore', () => books.note('cgroups.restore')),
    heldMemory: () => undefined,
    onReset: () => {},
    adjustOom: (_path, { from, to }) =>
      steps.step('cgroups.adjustOom', { kind }, () => books.note(`oom ${from} to ${to}`)),
  }
}

function fakeRootfs({ books, steps }: World): Rootfs {
  return {
    mount: (scope, paths, _lower) =>
      steps.step('rootfs.mount', { kind, scope }, async () => {
        for (const folder of [paths.upper, paths.work, paths.rootfs])
          if (!existsSync(folder)) throw new Error(`ENOENT: mount ${folder}`)
        if (books.mounts.has(paths.rootfs)) books.violated(`mounted twice at ${paths.rootfs}`)
        books.mounts.set(paths.rootfs, { upper: paths.upper })
      }),
    folder: (scope, { rootfs, path }) =>
      steps.step('rootfs.folder', { kind, scope }, () => {
        if (!books.mounts.has(rootfs)) books.violated(`${path} is made in ${rootfs}, which is not mounted`)
        return path
      }),
    unmount: (scope, path) =>
      steps.step('rootfs.unmount', { kind, scope }, () => {
        const container = [...books.runtimes.values()].find((r) => `${r.bundle}/rootfs` === path)
        if (books.mounts.has(path) && container?.process.alive && !steps.faulty)
          books.violated(`rootfs ${path} unmounted while its container runs`)
        const others = path.includes('/image-volumes/') || !steps.faulty
        if (others && books.mounts.has(path) && mountedInContainers(books).some((m) => m.startsWith(path)))
          books.violated(`volume ${path} unmounted while a container has it`)
        books.mounts.delete(path)
        books.pins.delete(path)
        books.shm.delete(path)
      }),
  }
}

/** Sources of the mounts of all containers that live. */
function mountedInContainers(books: Books): readonly string[] {
  const live = [...books.runtimes.values()].filter((r) => r.process.alive)
  return live.flatMap(({ bundle }) => {
    if (!existsSync(`${bundle}/config.json`)) return []
    const spec: { mounts?: { source?: string }[] } = JSON.parse(readFileSync(`${bundle}/config.json`, 'utf8'))
    return (spec.mounts ?? []).flatMap((m) => m.source ?? [])
  })
}

function fakeIdmaps({ books, steps }: World): Idmaps {
  return {
    bind: (scope, { target, userns }) =>
      steps.step('idmaps.bind', { kind, scope }, () => {
        if (userns !== undefined && !books.pins.has(userns)) throw new Error(`ENOENT: ${userns}`)
        if (books.mounts.has(target)) books.violated(`mounted twice at ${target}`)
        mkdirSync(target, { recursive: true })
        books.mounts.set(target, { upper: '' })
        books.note('idmaps.bind')
      }),
  }
}

function fakeImageVolumes({ books, steps }: World): ImageVolumes {
  return {
    mount: (scope, { files, empty }) =>
      steps.step('imageVolumes.mount', { kind, scope }, () => {
        for (const path of [files, ...empty]) if (!existsSync(path)) throw new Error(`ENOENT: mount ${path}`)
        if (books.mounts.has(files)) return
        books.note('imageVolumes.mount')
        books.mounts.set(files, { upper: '' })
      }),
    resolve: (scope, mounted, subPath) =>
      steps.step('imageVolumes.resolve', { kind, scope }, () => {
        if (!books.mounts.has(mounted)) books.violated(`${mounted} is looked into, but not mounted`)
        return `${mounted}/real/${subPath}`
      }),
  }
}

/** The record that a real attachment keeps in the pod's folder. */
const recordIn = (stateDir: string) => join(stateDir, 'network.json')

function freeAddress(books: Books): string {
  const taken = new Set([...books.attachments.values()].map((a) => a.ip))
  for (let n = 2; n < 255; n++) if (!taken.has(`10.0.0.${n}`)) return `10.0.0.${n}`
  throw new Fault('exhausted', 'no address is left')
}

/** Of a network that maps no ports. */
function attachmentOf(books: Books, stateDir: string): Awaited<ReturnType<Network['attach']>> {
  const { ip = '', ports = false } = books.attachments.get(stateDir) ?? {}
  const unserved = ports ? ['portMappings'] : []
  return {
    networkName: 'net',
    ifName: 'eth0',
    ips: [ip],
    subnets: [`${ip}/24`],
    interfaces: [],
    unserved,
    result: {},
  }
}

/** As the real one it puts all in force at once; what it knows ends with the daemon, the rules do not. */
function fakeHostports({ books, steps }: World): Hostports {
  const known = new Map<string, string>()
  const learn: Hostports['adopt'] = (pods) => {
    for (const { podId, ports } of pods)
      known.set(podId, ports.map((p) => `${p.hostPort}/${p.protocol}`).join(' '))
  }
  const how = (scope: Parameters<Hostports['apply']>[0]) => ({ kind: 'kills' as const, scope })
  const apply = () => {
    books.hostports = new Map(known)
  }
  return {
    adopt: learn,
    apply: (scope) => steps.step('hostports.apply', how(scope), apply),
    add: (scope, pod) => {
      learn([pod])
      return steps.step('hostports.add', how(scope), apply)
    },
    remove: (scope, podId) => {
      known.delete(podId)
      return steps.step('hostports.remove', how(scope), apply)
    },
  }
}

function fakeNetwork({ books, steps }: World): Network {
  const how = (scope: Parameters<Network['attach']>[0]) => ({ kind: 'kills' as const, scope })
  return {
    attach: (scope, request, stateDir) =>
      steps.step('network.attach', { ...how(scope), middle: true }, async (middle) => {
        if (!books.pins.has(request.netns)) throw new Fault('internal', `no namespace at ${request.netns}`)
        if (existsSync(recordIn(stateDir)))
          throw new Fault('wrong-state', 'there is a network record already')
        await writeFile(recordIn(stateDir), '{}')
        const ip = freeAddress(books)
        const ports = request.portMappings.length > 0
        books.attachments.set(stateDir, { podId: request.podId, ip, ports })
        await middle()
        books.note('network.attach')
        return attachmentOf(books, stateDir)
      }),
    detach: (scope, stateDir) =>
      steps.step('network.detach', how(scope), async () => {
        if (!existsSync(recordIn(stateDir))) return
        const { podId = '' } = books.attachments.get(stateDir) ?? {}
        if (books.hostports.has(podId) && !steps.faulty)
          books.violated(`pod ${podId} detached while ports of the node lead to it`)
        books.attachments.delete(stateDir)
        await rm(recordIn(stateDir), { force: true })
        books.note('network.detach')
      }),
    check: async () => {},
    recall: (stateDir) =>
      steps.step('network.recall', { kind }, async () =>
        books.attachments.has(stateDir) ? attachmentOf(books, stateDir) : undefined,
      ),
    gc: (scope, valid) =>
      steps.step('network.gc', how(scope), () => {
        for (const [dir, a] of [...books.attachments])
          if (!valid.includes(a.podId)) books.attachments.delete(dir)
      }),
    status: (scope) =>
      steps.step('network.status', how(scope), () => ({ ready: true, reason: '', message: '' })),
    onChange: () => ({ [Symbol.dispose]: () => {} }),
  }
}

/** A host for one life of the daemon. */
export function fakeHost(world: World): Host {
  const { books, steps, facts } = world
  const runtimes = new Map<string, OciRuntime>(
    Object.keys(facts.handlers).map((name) => [name, fakeRuntime(world, name)]),
  )
  let last = 0n
  return {
    facts: { ...facts, bootId: books.bootId },
    clock: { now: () => unixNanos(++last + BigInt(Date.now()) * 1_000_000n) },
    nodeName: 'node-1',
    files: fakeFiles(world),
    namespaces: fakeNamespaces(world),
    cgroups: fakeCgroups(world),
    readings: {
      read: async (requests) => requests.map(() => 'gone'),
      forget: () => {},
      monotonicNs: () => process.hrtime.bigint(),
      disk: async () => ({ device: '/dev/fake', totalBytes: 0n, totalInodes: 0n, freeInodes: 0n }),
    },
    rootfs: fakeRootfs(world),
    imageVolumes: fakeImageVolumes(world),
    idmaps: fakeIdmaps(world),
    network: fakeNetwork(world),
    hostports: fakeHostports(world),
    processes: fakeProcesses(world),
    monitors: fakeMonitors(world),
    runtime(handler) {
      const found = runtimes.get(handler === '' ? 'runc' : handler)
      if (!found) throw new Fault('invalid', `runtime_handler: "${handler}" is not configured here`)
      return found
    },
    exitFile: (paths) =>
      steps.step('exitFile', { kind }, async () => {
        const read = await readJson(paths.exitFile)
        if (read.is !== 'value') return undefined
        const { code, oomKilled, exitedAtNs } = read.value
        if (typeof code !== 'number' || typeof exitedAtNs !== 'bigint') return undefined
        return { code, oomKilled: oomKilled === true, exitedAtNs }
      }),
    user: (_lower, { requested }) =>
      steps.step('user', { kind }, async () => {
        const uid = Number(requested.uid ?? 0n)
        return { uid, gid: 0, additionalGids: [0], home: '/root' }
      }),
    smallPrograms: async () => false,
    hooks: async () => [],
    cdi: (names) => steps.step('cdi', { kind }, () => cdi([join(world.roots.root, 'cdi')])(names)),
    security: {
      seccompFile: (ref) =>
        steps.step(`security.seccompFile ${short(ref)}`, { kind }, () => readSeccompFile('/', ref)),
      apparmor: (scope) => steps.step('security.apparmor', { kind: 'kills', scope }, async () => undefined),
      relabel: (scope, { path }) =>
        steps.step(`security.relabel ${short(path)}`, { kind: 'kills', scope }, async () => {}),
    },
    streams: {
      offer: (scope, { kind: what }) =>
        steps.step('streams.offer', { kind: 'stops', scope }, async () => `http://127.0.0.1:1/${what}/token`),
      close: async () => {},
    },
    pauseProgram: join(world.roots.root, 'gantry-pause'),
  }
}

/** What the folders of a world hold that ought to be empty at the end. */
export function emptyFolders(roots: Roots): readonly string[] {
  const all = folders(roots)
  return [all.pods, all.containers, all.runPods, all.runContainers, all.imageVolumes, all.quarantine]
}

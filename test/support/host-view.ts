// SPDX-License-Identifier: Apache-2.0
/**
 * host-view: what is on this host right now, read from /proc, /sys and iptables-save: mounts, links, cgroups,
 * processes, open files, firewall rules. Shared by the leak check, which compares, and by the workspace, which
 * clears up. It only reads, and takes what vanishes while being read for absent.
 */
import { execFile } from 'node:child_process'
import { readdir, readFile, readlink } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

export interface Mount {
  readonly mountPoint: string
  readonly fsType: string
  /** The part of the file system that is mounted; for a namespace `net:[…]` and the like. */
  readonly root: string
  readonly source: string
  readonly superOptions: string
}

export interface ProcessView {
  readonly pid: number
  readonly ppid: number
  readonly startTicks: string
  readonly comm: string
  readonly zombie: boolean
  readonly exe: string
  readonly argv: readonly string[]
  /** argv, environment, cwd, root and cgroups in one text, to look for names in. */
  readonly text: string
}

async function textOf(path: string): Promise<string> {
  return readFile(path, 'utf8').catch(() => '')
}

async function linkOf(path: string): Promise<string> {
  return readlink(path).catch(() => '')
}

async function namesIn(path: string): Promise<string[]> {
  return readdir(path).catch(() => [])
}

/** True for `path` itself and for what lies below one of `roots`. */
export function under(path: string, roots: readonly string[]): boolean {
  return roots.some((r) => path === r || path.startsWith(r.endsWith('/') ? r : `${r}/`))
}

/** Mountinfo escapes space, tab, newline and backslash as three octal digits. */
function unescapeOctal(field: string): string {
  return field.replace(/\\([0-7]{3})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  )
}

/** Lines of a mountinfo file (proc_pid_mountinfo(5)). Lines of another form are left out. */
export function parseMountinfo(text: string): Mount[] {
  return text.split('\n').flatMap((line) => {
    const [left = '', right = ''] = line.split(' - ')
    const fields = left.split(' ')
    const [fsType, source, superOptions] = right.split(' ')
    if (fields.length < 6 || fsType === undefined) return []
    return {
      root: unescapeOctal(fields[3] ?? ''),
      mountPoint: unescapeOctal(fields[4] ?? ''),
      fsType,
      source: unescapeOctal(source ?? ''),
      superOptions: superOptions ?? '',
    }
  })
}

/** The mounts of this process's mount namespace. */
export async function mounts(): Promise<Mount[]> {
  return parseMountinfo(await readFile('/proc/self/mountinfo', 'utf8'))
}

export interface Link {
  readonly name: string
  /** The bridge it is a port of, or ''. */
  readonly master: string
}

/** The network links of this process's network namespace. */
export async function links(): Promise<Link[]> {
  const names = await readdir('/sys/class/net')
  const masters = await Promise.all(names.map((n) => linkOf(`/sys/class/net/${n}/master`)))
  return names.map((name, i) => ({ name, master: basename(masters[i] ?? '') }))
}

/** Where cgroup hierarchies are mounted: one on v2, several on v1 and hybrid machines. */
export async function cgroupMounts(): Promise<string[]> {
  const all = await mounts()
  return all.filter((m) => m.fsType === 'cgroup' || m.fsType === 'cgroup2').map((m) => m.mountPoint)
}

/** Every cgroup directory at or below `subtree` (as `/gt-abc`) in each hierarchy, deepest first. */
export async function cgroupDirs(subtree: string): Promise<string[]> {
  const found: string[] = []
  const walk = async (dir: string): Promise<void> => {
    const entries = await readdir(dir, { withFileTypes: true }).catch(() => undefined)
    if (entries === undefined) return
    for (const e of entries) if (e.isDirectory()) await walk(join(dir, e.name))
    found.push(dir)
  }
  for (const mountPoint of await cgroupMounts()) await walk(join(mountPoint, subtree))
  return found
}

/** Pids in those cgroup directories. */
export async function pidsIn(dirs: readonly string[]): Promise<number[]> {
  const lists = await Promise.all(dirs.map((d) => textOf(join(d, 'cgroup.procs'))))
  return [...new Set(lists.flatMap((l) => l.split('\n').filter((n) => n !== '')).map(Number))].filter(
    (p) => p > 1,
  )
}

async function processOf(pid: number): Promise<ProcessView | undefined> {
  const dir = `/proc/${pid}`
  const stat = await textOf(`${dir}/stat`)
  const close = stat.lastIndexOf(')')
  if (close < 0) return undefined
  const rest = stat.slice(close + 2).split(' ')
  const [exe, cmdline, environ, cwd, root, cgroup] = await Promise.all([
    linkOf(`${dir}/exe`),
    textOf(`${dir}/cmdline`),
    textOf(`${dir}/environ`),
    linkOf(`${dir}/cwd`),
    linkOf(`${dir}/root`),
    textOf(`${dir}/cgroup`),
  ])
  return {
    pid,
    ppid: Number(rest[1]),
    startTicks: rest[19] ?? '',
    comm: stat.slice(stat.indexOf('(') + 1, close),
    zombie: rest[0] === 'Z',
    exe: exe.replace(/ \(deleted\)$/, ''),
    argv: cmdline.split('\0').slice(0, -1),
    text: [cmdline, environ, cwd, root, cgroup].join('\n'),
  }
}

/** All processes, this one and its ancestors left out: they may name anything in their environment. */
export async function processes(): Promise<ProcessView[]> {
  const pids = (await namesIn('/proc')).filter((n) => /^\d+$/.test(n)).map(Number)
  const found = (await Promise.all(pids.map(processOf))).filter((p) => p !== undefined)
  const byPid = new Map(found.map((p) => [p.pid, p]))
  const own = new Set<number>()
  for (let p = byPid.get(process.pid); p !== undefined && !own.has(p.pid); p = byPid.get(p.ppid))
    own.add(p.pid)
  return found.filter((p) => !own.has(p.pid) && p.pid > 1)
}

/** Open descriptors of a process by what they are: `socket`, `pipe`, `anon_inode:[eventfd]`, or a path. */
export async function openFiles(pid: number): Promise<ReadonlyMap<string, number>> {
  const counts = new Map<string, number>()
  for (const fd of await namesIn(`/proc/${pid}/fd`)) {
    const target = (await linkOf(`/proc/${pid}/fd/${fd}`)).replace(/^(socket|pipe):\[\d+\]$/, '$1')
    if (target !== '') counts.set(target, (counts.get(target) ?? 0) + 1)
  }
  return counts
}

/**
 * Firewall rules of both families as iptables-save prints them, with the table in front, and the tables of nftables;
 * none where absent.
 */
export async function firewallRules(): Promise<string[]> {
  const tables = await run('nft', ['list', 'tables']).catch(() => ({ stdout: '' }))
  const rules: string[] = tables.stdout.split('\n')
  for (const program of ['iptables-save', 'ip6tables-save']) {
    const { stdout } = await run(program, [], { maxBuffer: 1 << 24 }).catch(() => ({ stdout: '' }))
    let table = ''
    for (const line of stdout.split('\n')) {
      if (line.startsWith('*')) table = line.slice(1)
      else if (line.startsWith('-A') || line.startsWith(':'))
        rules.push(`${program.replace('-save', '')} -t ${table} ${line.replace(/ \[\d+:\d+\]$/, '')}`)
    }
  }
  return rules
}

/** Every path below `root`, without following links and without what is mounted there. */
export async function filesUnder(root: string, mountPoints: ReadonlySet<string>): Promise<string[]> {
  const found: string[] = []
  const walk = async (dir: string): Promise<void> => {
    const entries = await readdir(dir, { withFileTypes: true }).catch(() => [])
    for (const e of entries) {
      const path = join(dir, e.name)
      found.push(path)
      if (e.isDirectory() && !mountPoints.has(path)) await walk(path)
    }
  }
  await walk(root)
  return found
}

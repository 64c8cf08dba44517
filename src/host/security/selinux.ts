// SPDX-License-Identifier: Apache-2.0
/**
 * SELinux on this machine: the contexts that its policy has for containers, and the labels of files. A tree is
 * relabelled only when its top has another label, so that a volume of a million files costs once. The work is
 * coreutils' `chcon`, in a process of its own. Which label is right is the plan's.
 */
import { access, readFile } from 'node:fs/promises'
import { Fault } from '../../base/fault.ts'
import type { Scope } from '../../base/scope.ts'
import type { SelinuxFacts } from '../../model/facts.ts'
import { clip } from '../../model/ids.ts'
import { findExecutable, type Run } from '../exec.ts'
import type { Native } from '../native.ts'

/** Long: a volume may have millions of files, and the client's deadline ends the wait in any case. */
const RELABEL_MS = 60 * 60 * 1000
const DIRS = ['/usr/bin', '/bin']
/** Relabelled, the machine would not boot or let nobody in. */
const NEVER = [
  '/',
  '/bin',
  '/boot',
  '/dev',
  '/etc',
  '/home',
  '/lib',
  '/lib64',
  '/opt',
  '/proc',
  '/root',
  '/run',
]
const NEVER_TOO = [
  '/sbin',
  '/srv',
  '/sys',
  '/tmp',
  '/usr',
  '/var',
  '/var/lib',
  '/var/log',
  '/var/run',
  '/var/tmp',
]
const KEPT = new Set([...NEVER, ...NEVER_TOO])

/** `process = "user:role:type:level"` and `file = …` of lxc_contexts, which policies for containers bring along. */
export function parseContexts(text: string): SelinuxFacts | undefined {
  const value = (key: string) =>
    new RegExp(`^\\s*${key}\\s*=\\s*"?([\\w.]+:[\\w.]+:[\\w.]+:[\\w.,:-]+)"?\\s*$`, 'm').exec(text)?.[1]
  const [processContext, fileContext] = [value('process'), value('file')]
  return processContext && fileContext ? { processContext, fileContext } : undefined
}

/** undefined where SELinux is off or its policy knows no containers. @abort finishes */
export async function probeSelinux(root = ''): Promise<SelinuxFacts | undefined> {
  const enabled = await access(`${root}/sys/fs/selinux/enforce`).then(
    () => true,
    () => false,
  )
  if (!enabled) return undefined
  const config = await readFile(`${root}/etc/selinux/config`, 'utf8').catch(() => '')
  const policy = /^\s*SELINUXTYPE\s*=\s*([\w-]+)\s*$/m.exec(config)?.[1] ?? 'targeted'
  const contexts = await readFile(`${root}/etc/selinux/${policy}/contexts/lxc_contexts`, 'utf8').catch(
    () => '',
  )
  return parseContexts(contexts)
}

export interface RelabelDeps {
  readonly native: Native
  readonly run: Run
}

/**
 * Gives `path` and what is below it the label; nothing is done when `path` has it already. chcon does the top last, so
 * that work which was cut short is taken up again. A file system without labels is left as it is. Throws `invalid` for
 * a folder of the system, `unavailable` without chcon, `internal` with its words. Idempotent. @abort kills
 */
export async function relabel(
  scope: Scope,
  deps: RelabelDeps,
  to: { readonly path: string; readonly label: string },
): Promise<void> {
  const { path, label } = to
  if (KEPT.has(path.replace(/(?<=.)\/+$/, '')))
    throw new Fault('invalid', `selinux_relabel: ${clip(path)} belongs to the system and is not relabelled`)
  const present = await coreutil(scope, deps, ['stat', '-c', '%C', '--', path])
  if (present.stdout.toString('utf8').trim() === label) return
  const { code, reason, stderr } = await coreutil(scope, deps, ['chcon', '-R', '-h', '--', label, path])
  if (reason === 'exited' && code === 0) return
  const lines = stderr
    .toString('utf8')
    .split('\n')
    .filter((line) => line !== '')
  if (
    reason === 'exited' &&
    lines.length > 0 &&
    lines.every((line) => line.endsWith('Operation not supported'))
  )
    return
  const why = clip(lines[0] ?? reason)
  throw new Fault('internal', `selinux_relabel: ${clip(path)} cannot be labelled ${label}: ${why}`)
}

async function coreutil(scope: Scope, { native, run }: RelabelDeps, argv: readonly [string, ...string[]]) {
  const file = await findExecutable(DIRS, argv[0])
  if (!file) throw new Fault('unavailable', `selinux_relabel: ${argv[0]} is not installed`)
  return await run(
    scope,
    { native },
    {
      file,
      argv,
      env: ['LC_ALL=C', 'PATH=/usr/bin:/bin'],
      maxOutputBytes: 1 << 20,
      deadlineMs: RELABEL_MS,
      killGraceMs: 500,
    },
  )
}

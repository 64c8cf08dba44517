// SPDX-License-Identifier: Apache-2.0
/**
 * Hook files, as oci-hooks(5) describes their version 1.0.0: a program that the OCI runtime runs at some stages of
 * the containers that the file's conditions match. Pure; the files are read elsewhere.
 */
import { Fault } from '../../../base/fault.ts'
import type { OciHook, OciHooks, OciSpec } from './oci.ts'
import { isTree, parseTree, type Tree } from './operator-file.ts'

export const HOOK_STAGES = [
  'prestart',
  'createRuntime',
  'createContainer',
  'startContainer',
  'poststart',
  'poststop',
] as const

export interface HookFile {
  readonly hook: OciHook
  readonly stages: readonly string[]
  readonly matches: (about: HookSubject) => boolean
}

/** What conditions look at. */
export interface HookSubject {
  readonly annotations: Readonly<Record<string, string>>
  /** The first argument of the container's process. */
  readonly command: string
  /** The request has mounts of the node's files. */
  readonly hasBindMounts: boolean
}

const isTexts = (v: unknown): v is readonly string[] =>
  Array.isArray(v) && v.every((t) => typeof t === 'string')

/** Throws `invalid`; `file` is named. */
export function parseHookFile(text: string, file: string): HookFile {
  const bad = (why: string) => new Fault('invalid', `hook file ${file}: ${why}`)
  const json = parseTree(text, bad)
  if (json.version !== '1.0.0') throw bad('version is not "1.0.0"')
  const { hook, when, stages } = json
  if (!isTree(when)) throw bad('when is not an object')
  if (!isTexts(stages) || stages.length === 0) throw bad('stages is not a list with a stage in it')
  const odd = stages.find((s) => !HOOK_STAGES.some((known) => known === s))
  if (odd !== undefined) throw bad(`stages: ${JSON.stringify(odd)} is none of ${HOOK_STAGES.join(', ')}`)
  return { hook: readHook(hook, bad), stages: [...new Set(stages)], matches: readWhen(when, bad) }
}

function readHook(hook: unknown, bad: (why: string) => Fault): OciHook {
  if (!isTree(hook)) throw bad('hook is not an object')
  const { path, args, env, timeout } = hook
  if (typeof path !== 'string' || !path.startsWith('/')) throw bad('hook.path is not an absolute path')
  if (args !== undefined && !isTexts(args)) throw bad('hook.args is not a list of texts')
  if (env !== undefined && !isTexts(env)) throw bad('hook.env is not a list of texts')
  if (timeout !== undefined && !(typeof timeout === 'number' && Number.isInteger(timeout) && timeout > 0))
    throw bad('hook.timeout is not a number of seconds above 0')
  return { path, ...(args ? { args } : {}), ...(env ? { env } : {}), ...(timeout ? { timeout } : {}) }
}

function pattern(text: string, bad: (why: string) => Fault): RegExp {
  try {
    return new RegExp(text)
  } catch {
    throw bad(`when: ${JSON.stringify(text)} is not a regular expression`)
  }
}

/** All the conditions that are there must hold, or one of them with `or`; without any the hook is nobody's. */
function readWhen(when: Tree, bad: (why: string) => Fault): HookFile['matches'] {
  const known = ['always', 'annotations', 'commands', 'hasBindMounts', 'or']
  const odd = Object.keys(when).find((key) => !known.includes(key))
  if (odd !== undefined) throw bad(`when.${odd} is none of ${known.join(', ')}`)
  for (const key of ['always', 'hasBindMounts', 'or'])
    if (when[key] !== undefined && typeof when[key] !== 'boolean')
      throw bad(`when.${key} is not true or false`)
  const conditions: ((about: HookSubject) => boolean)[] = []
  if (when.always !== undefined) conditions.push(() => when.always === true)
  if (when.hasBindMounts === true) conditions.push((about) => about.hasBindMounts)
  const { annotations = {}, commands = [] } = when
  if (!isTree(annotations) || !isTexts(Object.values(annotations)))
    throw bad('when.annotations is not an object of texts')
  if (!isTexts(commands)) throw bad('when.commands is not a list of texts')
  for (const [key, value] of Object.entries(annotations)) {
    const [k, v] = [pattern(key, bad), pattern(`${value}`, bad)]
    conditions.push((about) => Object.entries(about.annotations).some(([n, t]) => k.test(n) && v.test(t)))
  }
  const programs = commands.map((c) => pattern(c, bad))
  if (programs.length > 0) conditions.push((about) => programs.some((p) => p.test(about.command)))
  if (when.or === true) return (about) => conditions.some((holds) => holds(about))
  return (about) => conditions.length > 0 && conditions.every((holds) => holds(about))
}

/** `spec` with the hooks of the files that match, behind those that it has, in the order of the files. */
export function withHooks(
  spec: OciSpec,
  files: readonly HookFile[],
  about: Pick<HookSubject, 'annotations' | 'hasBindMounts'>,
): OciSpec {
  const { args } = spec.process
  const subject = {
    command: args[0] ?? '',
    hasBindMounts: about.hasBindMounts,
    annotations: { ...about.annotations, ...spec.annotations },
  }
  const matching = files.filter((f) => f.matches(subject))
  if (matching.length === 0) return spec
  const added = matching.flatMap(({ hook, stages }) => stages.map((stage) => ({ stage, hook })))
  return { ...spec, hooks: moreHooks(spec.hooks, added) }
}

/** `hooks`, with more of them behind those of the same stage. */
export function moreHooks(
  hooks: OciHooks | undefined,
  added: readonly { readonly stage: string; readonly hook: OciHook }[],
): OciHooks {
  const all = new Map(Object.entries(hooks ?? {}))
  for (const { stage, hook } of added) all.set(stage, [...(all.get(stage) ?? []), hook])
  return Object.fromEntries(all)
}

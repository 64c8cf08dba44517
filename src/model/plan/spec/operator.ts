// SPDX-License-Identifier: Apache-2.0
/**
 * What the operator adds to the specs of a handler's containers: a base spec, annotations, and the annotations of
 * requests that may pass. What a request decides is not the base's to change. Pure.
 */
import { Fault } from '../../../base/fault.ts'
import { LIMITS } from '../../limits.ts'
import type { OciMount, OciProcess, OciSpec } from './oci.ts'
import { isTree, parseTree, type Tree } from './operator-file.ts'

type Annotations = Readonly<Record<string, string>>

type Rlimits = NonNullable<OciProcess['rlimits']>

/** A part of an OCI spec; the lists that are joined with planned ones are read. */
export interface BaseSpec {
  readonly tree: Tree
  readonly mounts: readonly OciMount[]
  readonly rlimits: Rlimits
}

export interface OperatorSpec {
  /** What the handler's containers have where nothing else is planned. */
  readonly base?: BaseSpec
  readonly annotations?: Annotations | undefined
  /** Names of annotations of the pod, and of the container, that are written into the spec; `*` is any text. */
  readonly podAnnotations?: readonly string[] | undefined
  readonly containerAnnotations?: readonly string[] | undefined
  /** Folders of hook files. */
  readonly hooksDirs?: readonly string[] | undefined
}

/** Said by each request, also by being absent: a base that had them would give to some what they did not ask for. */
const REQUESTS: Readonly<Record<string, readonly string[]>> = {
  process: ['apparmorProfile', 'selinuxLabel', 'capabilities', 'user', 'args', 'noNewPrivileges'],
  linux: [
    ...['namespaces', 'uidMappings', 'gidMappings', 'seccomp', 'mountLabel', 'rootfsPropagation'],
    ...['maskedPaths', 'readonlyPaths', 'devices', 'cgroupsPath'],
  ],
}

function isSection(base: Tree, name: string): boolean {
  return base[name] === undefined || isTree(base[name])
}

/** The text of a base spec, without what only requests decide. Throws `invalid` with the field; `file` is named. */
export function parseBaseSpec(text: string, file: string): BaseSpec {
  const bad = (why: string) => new Fault('invalid', `base_spec ${file}: ${why}`)
  const json = parseTree(text, bad)
  for (const name of ['process', 'linux', 'hooks', 'annotations'])
    if (!isSection(json, name)) throw bad(`${name} is not an object`)
  const { ociVersion: _v, root: _r, hostname: _h, mounts = [], ...rest } = json
  const { process: own } = rest
  const rlimits = isTree(own) ? (own.rlimits ?? []) : []
  if (!isListOf(mounts, isMount)) throw bad('mounts is not a list of mounts, each with a destination')
  if (!isListOf(rlimits, isRlimit)) throw bad('process.rlimits is not a list of type, soft and hard')
  checkOthers(rest, bad)
  const cut = Object.entries(REQUESTS).map(([name, fields]) => [
    name,
    Object.fromEntries(Object.entries(rest[name] ?? {}).filter(([key]) => !fields.includes(key))),
  ])
  return { tree: { ...rest, ...Object.fromEntries(cut) }, mounts, rlimits }
}

function isListOf<T>(value: unknown, is: (item: unknown) => item is T): value is readonly T[] {
  return Array.isArray(value) && value.every(is)
}

const isMount = (m: unknown): m is OciMount => isTree(m) && typeof m.destination === 'string'
const isRlimit = (l: unknown): l is Rlimits[number] =>
  isTree(l) && typeof l.type === 'string' && Number.isInteger(l.soft) && Number.isInteger(l.hard)
const isHook = (h: unknown): h is Tree => isTree(h) && typeof h.path === 'string' && h.path.startsWith('/')
const isText = (t: unknown): t is string => typeof t === 'string'

function checkOthers({ hooks = {}, annotations = {} }: Tree, bad: (why: string) => Fault): void {
  for (const [kind, list] of Object.entries(hooks ?? {}))
    if (!isListOf(list, isHook)) throw bad(`hooks.${kind} is not a list of hooks, each with an absolute path`)
  if (!isListOf(Object.values(annotations ?? {}), isText))
    throw bad('annotations has a value that is not a text')
}

/** Objects are joined, key by key; anything else of `over` wins. */
function joined<T extends object>(base: Tree, over: T): T {
  const out = { ...base, ...over }
  for (const [key, below] of Object.entries(base)) {
    const value: unknown = Reflect.get(over, key)
    if (isTree(below) && isTree(value)) Reflect.set(out, key, joined(below, value))
  }
  return out
}

/** The base below the planned spec: its rlimits win by their type, its mounts stay where nothing is planned. */
function onBase(base: BaseSpec, spec: OciSpec): OciSpec {
  const taken = new Set(spec.mounts.map((m) => m.destination))
  const mounts = [...base.mounts.filter((m) => !taken.has(m.destination)), ...spec.mounts]
  const { rlimits: planned = [] } = spec.process
  const rlimits = new Map([...planned, ...base.rlimits].map((l) => [l.type, l]))
  const all = joined(base.tree, spec)
  return { ...all, mounts, process: { ...all.process, rlimits: [...rlimits.values()] } }
}

/** `*` is any text, also with dots and slashes in it. */
export function matchesName(glob: string, name: string): boolean {
  const [first = '', ...rest] = glob.split('*')
  if (rest.length === 0) return glob === name
  const last = rest.pop() ?? ''
  if (!name.startsWith(first) || !name.endsWith(last) || name.length < first.length + last.length)
    return false
  let at = first.length
  for (const part of rest) {
    const found = name.indexOf(part, at)
    if (found < 0 || found + part.length > name.length - last.length) return false
    at = found + part.length
  }
  return true
}

function passed(globs: readonly string[], all: Annotations): Annotations {
  return Object.fromEntries(Object.entries(all).filter(([name]) => globs.some((g) => matchesName(g, name))))
}

/** `spec` with what the operator says. Of one name the container's annotation wins, then the pod's. */
export function withOperator(
  spec: OciSpec,
  operator: OperatorSpec | undefined,
  of: { readonly pod: Annotations; readonly container: Annotations },
): OciSpec {
  if (!operator) return spec
  const annotations = {
    ...operator.annotations,
    ...passed(operator.podAnnotations ?? [], of.pod),
    ...passed(operator.containerAnnotations ?? [], of.container),
    ...spec.annotations,
  }
  if (Object.keys(annotations).length > LIMITS.passedAnnotations)
    throw new Fault('invalid', `annotations: more than ${LIMITS.passedAnnotations} would go to the runtime`)
  const planned = Object.keys(annotations).length > 0 ? { ...spec, annotations } : spec
  return operator.base ? onBase(operator.base, planned) : planned
}

// SPDX-License-Identifier: Apache-2.0
/**
 * check-layers: who may import whom. The table of the layers is data; the check is a pure function over the
 * files of src, so its test can feed it one violation per rule. Run as a program it prints what it found and
 * exits 1, also when it saw fewer files than git lists.
 */
import { builtinModules } from 'node:module'
import { dirname, join, posix } from 'node:path'
import { fileURLToPath } from 'node:url'
import { blank, type Import, importsOf, lineAt } from './source.ts'
import { type Files, gitFiles, missed, readTree } from './tree.ts'

export interface Problem {
  readonly file: string
  readonly line: number
  readonly rule: string
  readonly message: string
}

interface Layer {
  /** Folders of src that it may import, beside itself. */
  readonly may: readonly string[]
  /** Folders of src of which it may import types, and nothing else. */
  readonly mayTypes?: readonly string[]
  /** Node built-ins: all, none, or all but these. */
  readonly builtins: 'all' | 'none' | { readonly not: readonly string[] }
  /** npm packages. */
  readonly packages: readonly string[]
}

/** The layers, lowest first. What is not in the table is the top: it constructs, and may import everything. */
export const layers: Readonly<Record<string, Layer>> = {
  base: { may: [], builtins: 'all', packages: [] },
  model: { may: ['base'], builtins: 'none', packages: [] },
  config: { may: ['base', 'model'], builtins: 'all', packages: ['smol-toml'] },
  host: { may: ['base', 'model'], builtins: 'all', packages: ['smol-toml', 'tar-stream', 'yaml'] },
  engine: {
    may: ['base', 'model'],
    mayTypes: ['host'],
    builtins: { not: ['fs', 'fs/promises', 'child_process'] },
    packages: [],
  },
  edge: {
    may: ['base', 'model', 'engine'],
    builtins: 'all',
    packages: ['@grpc/grpc-js', 'protobufjs', 'ws'],
  },
}

/** The top: files of src itself, the commands of the CLI and what the workers do. Only it may read config. */
const top = /^src\/(?:[\w-]+\.ts|(?:cli|image-worker|stream-worker|observe-worker)\/.+)$/
/** The only places that may start a program the way of Node, which forks: no part of the daemon's own process. */
const childProcess = [/^src\/cli(?:\.ts|\/.+)$/]
/** The only file that may load the addon. */
const addonLoader = 'src/host/native.ts'
/** The parts of host that every other part of host may import. */
const sharedHostParts = new Set(['native', 'files', 'exec', 'facts', 'propagation', 'worker-process', 'yaml'])
/** The only files that may re-export, and they hold nothing but types. */
const indexes = new Set(['src/engine/index.ts', 'src/host/index.ts'])
/** Model is true at any time, on any machine: no clock, no chance, no waiting. */
const impure =
  /\bDate\.now\b|\bnew Date\(\s*\)|\bMath\.random\b|\brandomUUID\b|\bgetRandomValues\b|\bperformance\.|\bprocess\.|\basync\b|\bawait\b|\bPromise\b|\bset(?:Timeout|Interval|Immediate)\b/g
const builtin = new Set(builtinModules)

/** Every violation in `files` (path → text; paths start with src/). */
export function checkLayers(files: Files): Problem[] {
  const problems: Problem[] = []
  const edges = new Map<string, string[]>()
  for (const [file, text] of files) {
    const targets: string[] = []
    for (const i of importsOf(text)) {
      const target = posix.join(posix.dirname(file), i.specifier)
      const relative = i.specifier.startsWith('.')
      if (relative && files.has(target)) targets.push(target)
      const found = relative ? judgeRelative(file, i, target, files) : judgeForeign(file, i.specifier)
      const reexport = i.reexport && !(indexes.has(file) && i.typeOnly)
      const barrel = { rule: 'no-barrel', message: 'a re-export; import from the file that has it' }
      for (const f of [...found, ...(reexport ? [barrel] : [])]) problems.push({ file, line: i.line, ...f })
    }
    edges.set(file, targets)
    problems.push(...checkText(file, text))
  }
  for (const cycle of cyclesOf(edges))
    problems.push({ file: cycle[0] ?? '', line: 1, rule: 'no-cycle', message: `cycle: ${cycle.join(' → ')}` })
  return problems
}

type Finding = Pick<Problem, 'rule' | 'message'>

const one = (rule: string, message: string): Finding[] => [{ rule, message }]

const layerOf = (file: string): string | undefined =>
  top.test(file) ? undefined : /^src\/([\w-]+)\//.exec(file)?.[1]

function judgeRelative(file: string, i: Import, target: string, files: Files): Finding[] {
  const generated = target.includes('/gen/')
  if (!target.startsWith('src/')) return one('inside-src', `${i.specifier} is outside src`)
  if (!generated && !files.has(target)) return one('resolves', `${i.specifier}: there is no ${target}`)
  const from = layerOf(file)
  if (from === undefined) return []
  const layer = layers[from]
  if (layer === undefined)
    return one('known-folder', `src/${from} is not one of ${Object.keys(layers).join(', ')}`)
  const to = layerOf(target)
  if (to === undefined) return one('layer', `${from} may not import ${target}, which constructs`)
  if (to === from) return from === 'host' ? judgeHostPart(file, i, target) : []
  if (layer.may.includes(to)) return []
  if (layer.mayTypes?.includes(to) !== true) return one('layer', `${from} may not import ${to}`)
  return i.typeOnly
    ? []
    : one('types-only', `${from} may import types of ${to}, not values: write "import type"`)
}

const hostPart = (file: string): string => /^src\/host\/([\w-]+)/.exec(file)?.[1] ?? ''

function judgeHostPart(file: string, i: Import, target: string): Finding[] {
  const [from, to] = [hostPart(file), hostPart(target)]
  if (from === to || sharedHostParts.has(to)) return []
  // The interface page names the types of the parts, and the parts implement it.
  if (i.typeOnly && (from === 'index' || to === 'index')) return []
  return one('host-part', `host/${from} may not import host/${to}, only ${[...sharedHostParts].join(', ')}`)
}

function judgeForeign(file: string, specifier: string): Finding[] {
  const name = specifier.replace(/^node:/, '')
  const from = layerOf(file)
  const layer = from === undefined ? undefined : layers[from]
  if (builtin.has(name)) {
    const prefix = specifier.startsWith('node:') ? [] : one('node-prefix', `write node:${name}`)
    return [...prefix, ...judgeBuiltin(file, name, layer)]
  }
  const pkg = specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/')
  if (layer === undefined || layer.packages.includes(pkg)) return []
  return one('package', `${from} may not import ${pkg}`)
}

function judgeBuiltin(file: string, name: string, layer: Layer | undefined): Finding[] {
  if (name === 'child_process' && !childProcess.some((place) => place.test(file)))
    return one('child-process', 'node:child_process forks the daemon: use the spawn of the addon')
  const allowed = layer?.builtins ?? 'all'
  if (allowed === 'all' || (allowed !== 'none' && !allowed.not.includes(name))) return []
  return one('builtin', `${layerOf(file)} may not import node:${name}`)
}

function checkText(file: string, text: string): Problem[] {
  const found: Problem[] = []
  const say = (at: number, rule: string, message: string): void => {
    found.push({ file, line: lineAt(text, at), rule, message })
  }
  const code = blank(text)
  const strings = blank(text, true)
  if (layerOf(file) === 'model')
    for (const m of code.matchAll(impure)) say(m.index, 'model-pure', `model may not use "${m[0]}"`)
  if (file !== addonLoader)
    for (const m of strings.matchAll(/['"`][^'"`\n]*\.node['"`]|\bprocess\.dlopen\b/g))
      say(m.index, 'addon', `only ${addonLoader} may load the addon`)
  if (indexes.has(file))
    for (const m of code.matchAll(/^export (?!type\b|interface\b)/gm))
      say(m.index, 'interfaces-only', 'an index page holds interfaces and types only')
  return found
}

/** Every strongly connected group of more than one file, or a file that imports itself (Tarjan). */
function cyclesOf(edges: ReadonlyMap<string, readonly string[]>): string[][] {
  const index = new Map<string, number>()
  const low = new Map<string, number>()
  const stack: string[] = []
  const cycles: string[][] = []
  const visit = (file: string): void => {
    const mine = index.size
    index.set(file, mine)
    low.set(file, mine)
    stack.push(file)
    for (const next of edges.get(file) ?? []) {
      if (!index.has(next)) visit(next)
      if (stack.includes(next)) low.set(file, Math.min(low.get(file) ?? 0, low.get(next) ?? 0))
    }
    if (low.get(file) !== mine) return
    const group = stack.splice(stack.indexOf(file))
    if (group.length > 1 || (edges.get(file) ?? []).includes(file)) cycles.push(group)
  }
  for (const file of edges.keys()) if (!index.has(file)) visit(file)
  return cycles
}

const wanted = (path: string): boolean => path.startsWith('src/') && path.endsWith('.ts')

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const repo = dirname(dirname(fileURLToPath(import.meta.url)))
  const files = readTree(repo, ['src'], wanted)
  const unseen = missed(files, gitFiles(repo), wanted)
  for (const path of unseen) console.error(`${path}: listed by git, but this check did not see it`)
  const problems = checkLayers(files)
  for (const p of problems) console.error(`${p.file}:${p.line}: ${p.rule}: ${p.message}`)
  if (files.size === 0) console.error(`no file seen under ${join(repo, 'src')}`)
  process.exitCode = problems.length + unseen.length > 0 || files.size === 0 ? 1 : 0
}

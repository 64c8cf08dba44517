// SPDX-License-Identifier: Apache-2.0
/**
 * gen: the CRI proto → `src/edge/cri/gen`, the project's own → `src/edge/node/gen`. Refuses a CRI proto whose
 * sha256 is not the one in `proto/SOURCE`, and does nothing while its inputs are those of the last run. Writes
 * the codec (api.js, api.d.ts; 64-bit fields are bigint), the list of RPCs (rpcs.ts) and the fields that must
 * never reach a log (redact.ts). It writes nothing outside those folders, and they are not committed.
 */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const repo = dirname(dirname(fileURLToPath(import.meta.url)))
const license = '// SPDX-License-Identifier: Apache-2.0\n'

/** A proto, and what becomes of it. */
export interface Target {
  /** Below `proto/`. */
  readonly proto: string
  /** The proto's package, of two words. */
  readonly pkg: string
  /** The folder that is written. */
  readonly out: string
  /** int64.ts, as seen from that folder. */
  readonly int64: string
}

export const cri: Target = {
  proto: 'runtime/v1/api.proto',
  pkg: 'runtime.v1',
  out: 'src/edge/cri/gen',
  int64: '../int64.ts',
}
export const node: Target = {
  proto: 'gantry/v1/node.proto',
  pkg: 'gantry.v1',
  out: 'src/edge/node/gen',
  int64: '../../cri/int64.ts',
}

const noticeOf = (of: Target): string =>
  `// Written by scripts/gen.ts from proto/${of.proto}. Do not edit, do not commit.\n`

/** One RPC of the services, as rpcs.ts lists it. */
export interface RpcLine {
  readonly service: string
  readonly name: string
  readonly request: string
  readonly response: string
  /** The reply is a stream. */
  readonly stream: boolean
  /** The request is one. */
  readonly requestStream?: boolean
}

/** The sha256 that `proto/SOURCE` promises. Throws when the file does not say one. */
export function promisedSha256(source: string): string {
  const found = /^sha256\s+([0-9a-f]{64})$/m.exec(source)?.[1]
  if (found === undefined) throw new Error('proto/SOURCE has no line "sha256 <64 hex digits>"')
  return found
}

/**
 * The codec of pbjs, made ours: Reader and Writer come from int64.ts, 64-bit values are bigint, unknown
 * fields are dropped instead of kept. Throws when a pattern that must be there is not: a new pbjs is then
 * noticed here and not at run time.
 */
export function rewriteCodec(js: string, of: Target = cri): string {
  const rules: readonly (readonly [name: string, from: RegExp, to: string])[] = [
    [
      'import',
      /^import \$protobuf from "protobufjs\/minimal\.js";$/m,
      `import { protobuf as $protobuf } from '${of.int64}';`,
    ],
    ['zero', /\$util\.Long \? \$util\.Long\.fromBits\(0, ?0, ?(?:true|false)\) : 0;/g, '0n;'],
    [
      'write if set',
      /\(typeof (message\.\w+) === "object" \? \1\.low \|\| \1\.high : \1 !== 0\)/g,
      '$1 != 0',
    ],
    [
      'read if set',
      /if \(typeof \(value = reader\.(u?int64)\(\)\) === "object" \? value\.low \|\| value\.high : value !== 0\)/g,
      'if ((value = reader.$1()) !== 0n)',
    ],
    [
      'write unknown',
      /\n *if \(message\.\$unknowns != null && [^\n]*\n[^\n]*\n *writer\.raw\(message\.\$unknowns\[i\]\);/g,
      '',
    ],
    ['read unknown', /\n *if \(!reader\.discardUnknown\) \{\n[^\n]*\n[^\n]*\n *\}/g, ''],
  ]
  let text = js
  for (const [name, from, to] of rules) {
    if (!new RegExp(from.source, from.flags.replace('g', '')).test(text))
      throw new Error(`gen: the code of pbjs has no "${name}" any more: adapt rewriteCodec`)
    text = text.replace(from, to)
  }
  const left = /\$unknowns|\.low\b|\$util\.Long/.exec(text)
  if (left !== null) throw new Error(`gen: "${left[0]}" is still in the code of pbjs: adapt rewriteCodec`)
  return `${license}${noticeOf(of)}${text
    .replace(/^\/\*eslint[^\n]*\n/, '')
    .replace(/^ +/gm, '')
    .replace(/\n{2,}/g, '\n')
    .trim()}\nexport const v1 = ${of.pkg};\n`
}

/** The types of pbts, made ours: bigint, no comments, no `Long`, `v1` as a short name for the package. */
export function rewriteTypes(dts: string, of: Target = cri): string {
  const text = dts
    .replace(/^import Long = require\("long"\);\n/m, '')
    .replaceAll('(number|Long|null)', '(bigint|null)')
    .replaceAll('(number|Long)', 'bigint')
    .replace(/\n? *\/\*\*[\s\S]*?\*\//g, '')
    .replace(/\n *\$unknowns\?: Uint8Array\[\];/g, '')
    .replace(/\n{2,}/g, '\n')
  if (/\bLong\b/.test(text)) throw new Error('gen: "Long" is still in the types of pbts: adapt rewriteTypes')
  return `${license}${noticeOf(of)}${text.trim()}\nexport import v1 = ${of.pkg};\n`
}

/** rpcs.ts: every RPC in the order of the proto, a union of their names, and the messages of each. */
export function rpcsModule(rpcs: readonly RpcLine[], of: Target = cri): string {
  const lines = rpcs.map(
    (r) =>
      `  { service: '${r.service}', name: '${r.name}', path: '/${of.pkg}.${r.service}/${r.name}', ` +
      `request: '${r.request}', response: '${r.response}', stream: ${r.stream}${r.requestStream ? ', requestStream: true' : ''} },`,
  )
  const messages = rpcs.map(
    (r) => `  ${r.name}: { request: v1.${r.request}; response: v1.${r.response}.$Properties }`,
  )
  return [
    `${license}${noticeOf(of)}`,
    "import type { v1 } from './api.js'\n",
    '/** Every RPC in the order of the proto. `stream`: the reply is a stream of `response`. */',
    'export const rpcs = [',
    ...lines,
    '] as const\n',
    'export type Rpc = (typeof rpcs)[number]',
    "export type ServiceName = Rpc['service']",
    "export type RpcName = Rpc['name']\n",
    '/** What each RPC takes and gives; for a stream, what one message of it holds. */',
    'export interface RpcMessages {',
    ...messages,
    '}\n',
  ].join('\n')
}

/** redact.ts: `Message.field` (proto message, camelCase field) of every field marked debug_redact. */
export function redactModule(fields: readonly string[], of: Target = cri): string {
  const lines = fields.map((f) => `  '${f}',`)
  return [
    `${license}${noticeOf(of)}`,
    '/** Fields that the proto marks `debug_redact`: their values never reach a log or an error. */',
    'export const redacted = [',
    ...lines,
    '] as const\n',
  ].join('\n')
}

/** What rpcs.ts and redact.ts are made of, read from the proto text. Throws when either list is empty. */
export async function readProto(
  text: string,
  pkg = cri.pkg,
): Promise<{ rpcs: RpcLine[]; redacted: string[] }> {
  const { default: protobuf } = await import('protobufjs')
  const { root } = protobuf.parse(text)
  const namespace = root.lookup(pkg)
  if (!(namespace instanceof protobuf.Namespace)) throw new Error(`gen: the proto has no package ${pkg}`)
  const rpcs: RpcLine[] = []
  const redacted: string[] = []
  for (const item of namespace.nestedArray) {
    if (item instanceof protobuf.Service)
      for (const m of item.methodsArray) {
        if (m.requestStream && pkg === cri.pkg)
          throw new Error(`gen: ${m.name} takes a stream: nothing here can serve that`)
        rpcs.push({
          service: item.name,
          name: m.name,
          request: m.requestType,
          response: m.responseType,
          stream: m.responseStream === true,
          ...(m.requestStream ? { requestStream: true } : {}),
        })
      }
    if (item instanceof protobuf.Type)
      for (const f of item.fieldsArray)
        if (f.options?.debug_redact === true) redacted.push(`${item.name}.${f.name}`)
  }
  if (rpcs.length === 0 || redacted.length === 0) throw new Error('gen: no RPC or no redacted field found')
  return { rpcs, redacted }
}

function pbjs(work: string, proto: string): void {
  const no = ['comments', 'create', 'verify', 'convert', 'delimited', 'typeurl', 'service']
  const run = (flags: readonly string[]): void => {
    const cli = join(repo, 'node_modules/protobufjs-cli/bin/pbjs')
    execFileSync(process.execPath, [cli, '-t', 'static-module', '-w', 'esm', ...flags, proto], {
      stdio: ['ignore', 'inherit', 'inherit'],
    })
  }
  const dependency = ['--dependency', 'protobufjs/minimal.js']
  run([...no.map((n) => `--no-${n}`), ...dependency, '-o', join(work, 'api.js')])
  // The types are read from comments, so they need a second run that keeps them.
  run([...no.slice(1).map((n) => `--no-${n}`), ...dependency, '-o', join(work, 'commented.js'), '-d'])
}

async function generate(of: Target): Promise<void> {
  const proto = join(repo, 'proto', of.proto)
  const text = readFileSync(proto, 'utf8')
  const sha = createHash('sha256').update(text).digest('hex')
  if (of === cri) {
    const promised = promisedSha256(readFileSync(join(repo, 'proto/SOURCE'), 'utf8'))
    if (sha !== promised) throw new Error(`api.proto has sha256 ${sha}, proto/SOURCE promises ${promised}`)
  }
  const inputs = [fileURLToPath(import.meta.url), 'node_modules/protobufjs-cli/package.json']
  const hash = createHash('sha256').update(sha)
  for (const file of inputs) hash.update(readFileSync(join(file.startsWith('/') ? '/' : repo, file)))
  const out = join(repo, of.out)
  const stamp = join(out, '.stamp')
  const wanted = hash.digest('hex')
  const outputs = ['api.js', 'api.d.ts', 'rpcs.ts', 'redact.ts']
  const done = existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted
  if (done && outputs.every((f) => existsSync(join(out, f)))) return
  rmSync(stamp, { force: true })
  const work = join(out, 'work')
  mkdirSync(work, { recursive: true })
  try {
    pbjs(work, proto)
    const { rpcs, redacted } = await readProto(text, of.pkg)
    writeFileSync(join(out, 'api.js'), rewriteCodec(readFileSync(join(work, 'api.js'), 'utf8'), of))
    writeFileSync(join(out, 'api.d.ts'), rewriteTypes(readFileSync(join(work, 'commented.d.ts'), 'utf8'), of))
    writeFileSync(join(out, 'rpcs.ts'), rpcsModule(rpcs, of))
    writeFileSync(join(out, 'redact.ts'), redactModule(redacted, of))
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
  writeFileSync(stamp, wanted)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    for (const target of [cri, node]) await generate(target)
  } catch (error) {
    console.error(`gen: ${error instanceof Error ? error.message : String(error)}`)
    process.exitCode = 1
  }
}

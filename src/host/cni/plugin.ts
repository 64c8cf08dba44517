// SPDX-License-Identifier: Apache-2.0
/**
 * One call of one CNI plugin: find the program, run it with the CNI environment and its JSON on stdin, and turn
 * what it says into a result or a Fault. The only place that knows CNI error codes. Does not know lists,
 * chaining or records.
 */
import { Fault, type FaultKind } from '../../base/fault.ts'
import { abortFault, type Scope } from '../../base/scope.ts'
import { type ExecDeps, findExecutable, type Run, type RunResult } from '../exec.ts'
import { asString, type JsonObject, parseObject } from './json.ts'

export type CniCommand = 'ADD' | 'DEL' | 'CHECK' | 'STATUS' | 'GC'

export interface PluginCall {
  readonly command: CniCommand
  readonly type: string
  readonly input: JsonObject
  /** Not for STATUS and GC, which are about no attachment. */
  readonly attachment?: {
    readonly containerId: string
    /** Empty: the namespace is gone (DEL only). */
    readonly netns: string
    readonly ifName: string
    readonly args: string
  }
  /** Before the plugin gets its input, and so before it can do anything. */
  readonly onPid?: (pid: number) => Promise<void> | void
}

export interface PluginDeps extends ExecDeps {
  readonly run: Run
  readonly binDirs: readonly string[]
  /** PATH for the plugins: they execute iptables, ip and the like. */
  readonly searchPath: string
  readonly deadlineMs: number
}

export const MAX_OUTPUT_BYTES = 1024 * 1024
const KILL_GRACE_MS = 2_000
/** How much of a plugin's own words goes into a message. */
const MAX_WORDS = 2_000

/** Error codes of the specification whose kind callers act on; all others are `internal`. */
const KINDS: Readonly<Record<number, FaultKind>> = {
  1: 'unsupported',
  2: 'unsupported',
  11: 'unavailable',
  50: 'unavailable',
  51: 'unavailable',
}

/**
 * Calls the plugin. ADD gives its result (an empty object if it printed none), the others give {}.
 * Throws a Fault that names plugin, command and cause; `reason` is `cni-<code>` when the plugin gave a code.
 * @abort kills
 */
export async function callPlugin(scope: Scope, deps: PluginDeps, call: PluginCall): Promise<JsonObject> {
  const where = `CNI plugin ${call.type} (${call.command})`
  const file = await findExecutable(deps.binDirs, call.type)
  if (!file) {
    throw new Fault('unavailable', `${where}: there is no such program in ${deps.binDirs.join(', ')}`)
  }
  const ended = await deps
    .run(
      scope,
      { native: deps.native },
      {
        file,
        argv: [file],
        env: environment(deps, call),
        stdin: Buffer.from(JSON.stringify(call.input)),
        maxOutputBytes: MAX_OUTPUT_BYTES,
        deadlineMs: deps.deadlineMs,
        killGraceMs: KILL_GRACE_MS,
        wholeGroup: true,
        ...(call.onPid === undefined ? {} : { onPid: call.onPid }),
      },
    )
    .catch((e: unknown) => {
      throw Fault.during(where, e)
    })
  scope.log.debug('cni-plugin', {
    plugin: call.type,
    command: call.command,
    containerId: call.attachment?.containerId,
    code: ended.code,
    reason: ended.reason,
    durationMs: Math.round(ended.durationMs),
  })
  return verdict(scope, { where, call, deadlineMs: deps.deadlineMs }, ended)
}

function environment(deps: PluginDeps, call: PluginCall): string[] {
  const env = [`PATH=${deps.searchPath}`, `CNI_COMMAND=${call.command}`, `CNI_PATH=${deps.binDirs.join(':')}`]
  const a = call.attachment
  if (a) {
    env.push(`CNI_CONTAINERID=${a.containerId}`, `CNI_NETNS=${a.netns}`, `CNI_IFNAME=${a.ifName}`)
    env.push(`CNI_ARGS=${a.args}`)
  }
  return env
}

function verdict(
  scope: Scope,
  { where, call, deadlineMs }: { where: string; call: PluginCall; deadlineMs: number },
  ended: RunResult,
): JsonObject {
  switch (ended.reason) {
    case 'cancelled':
      throw Fault.during(where, abortFault(scope.signal))
    case 'timed-out':
      throw new Fault('timeout', `${where}: not finished after ${deadlineMs} ms, killed${words(ended)}`)
    case 'output-too-large':
      throw new Fault('internal', `${where}: it wrote more than ${MAX_OUTPUT_BYTES} bytes, killed`)
    case 'exited':
      break
    default:
      ended.reason satisfies never
  }
  const stdout = ended.stdout.toString('utf8')
  if (ended.code !== 0) throw failure(where, stdout, ended)
  if (call.command !== 'ADD' || stdout.trim() === '') return {}
  const parsed = parseObject(stdout)
  if (!parsed.ok) throw new Fault('internal', `${where}: its result is not JSON: ${parsed.why}`)
  return parsed.value
}

/** The plugin's own words if it spoke the protocol, else all that is known of its end. */
function failure(where: string, stdout: string, ended: RunResult): Fault {
  const parsed = parseObject(stdout)
  const msg = parsed.ok ? asString(parsed.value.msg) : undefined
  const code = parsed.ok ? parsed.value.code : undefined
  if (parsed.ok && (msg || typeof code === 'number')) {
    const details = asString(parsed.value.details)
    const text = clip([msg || 'it failed', details].filter(Boolean).join('; '))
    if (typeof code !== 'number') return new Fault('internal', `${where}: ${text}`)
    return new Fault(KINDS[code] ?? 'internal', `${where}: ${text} (code ${code})`, { reason: `cni-${code}` })
  }
  const how = ended.signal > 0 ? `killed by signal ${ended.signal}` : `exit code ${ended.code}`
  return new Fault('internal', `${where}: ${how}${words(ended)}`)
}

function words(ended: RunResult): string {
  const text = clip(`${ended.stderr.toString('utf8').trim()} ${ended.stdout.toString('utf8').trim()}`.trim())
  return text === '' ? '' : `: ${text}`
}

function clip(text: string): string {
  return text.length <= MAX_WORDS ? text : `${text.slice(0, MAX_WORDS)}…`
}

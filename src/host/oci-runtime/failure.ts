// SPDX-License-Identifier: Apache-2.0
/**
 * What an OCI runtime wrote in its JSON log as a Fault. The only place that reads the runtimes' words; the
 * rest of the project tests `reason`.
 */
import { Fault } from '../../base/fault.ts'
import type { RuntimeKind } from '../../model/facts.ts'
import { RUNTIMES } from './table.ts'

/** The last error message in a `--log-format json` log; the raw text if no line parses. */
export function lastLogMessage(log: string): string {
  // runsc ends no line.
  const lines = log
    .replaceAll('}{"', '}\n{"')
    .split('\n')
    .filter((l) => l.trim() !== '')
  let last = ''
  for (const line of lines) {
    try {
      const entry: unknown = JSON.parse(line)
      const msg: unknown = typeof entry === 'object' && entry !== null ? Reflect.get(entry, 'msg') : undefined
      const level: unknown =
        typeof entry === 'object' && entry !== null ? Reflect.get(entry, 'level') : undefined
      if (typeof msg === 'string' && (level === 'error' || level === 'fatal' || last === '')) last = msg
    } catch {
      last = line
    }
  }
  return last.slice(0, 2000)
}

/** The kernel refused a limit: too small for what runs already, or no value for that file. */
const BAD_LIMIT =
  /unable to set memory limit|(?:write|failed to write|open) .*(?:memory|cpu|cpuset|hugetlb|pids)\.[\w.]+.*(?:invalid argument|device or resource busy|numerical result out of range|no such device)/i

/**
 * A failed call of a runtime: kind `invalid` and reason `bad-command` when the program to run is at fault,
 * `invalid` and `bad-limit` when a resource limit is, reason `unknown-container` when there is no such container,
 * else `internal`.
 */
export function runtimeFault(kind: RuntimeKind, doing: string, log: string): Fault {
  const message = lastLogMessage(log) || 'it said nothing'
  const traits = RUNTIMES[kind]
  const text = `${doing}: ${kind}: ${message}`
  if (traits.badCommand.test(message)) return new Fault('invalid', text, { reason: 'bad-command' })
  if (traits.unknownContainer.test(message))
    return new Fault('not-found', text, { reason: 'unknown-container' })
  if (BAD_LIMIT.test(message)) return new Fault('invalid', text, { reason: 'bad-limit' })
  return new Fault('internal', text)
}

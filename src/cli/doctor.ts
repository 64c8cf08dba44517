// SPDX-License-Identifier: Apache-2.0
/**
 * doctor: looks at this machine, judges, and shows what would stop pods from running with how to mend it.
 * Works also with a broken configuration (with the defaults in its place) and without the addon.
 */
import { asFault, isFault } from '../base/fault.ts'
import { silent } from '../base/log.ts'
import { childScope } from '../base/scope.ts'
import { loadConfig, makeConfig } from '../config/load.ts'
import type { Config } from '../config/schema.ts'
import type { Native } from '../host/native.ts'
import { loadAddon } from '../places.ts'
import type { Args } from './args.ts'
import { problemsOf } from './config.ts'
import { judgeMachine } from './doctor/judge.ts'
import { judgeNetwork } from './doctor/judge-network.ts'
import { readMachine } from './doctor/machine.ts'
import { readNetwork } from './doctor/network.ts'
import type { Check, Verdict } from './doctor/view.ts'
import { type Colour, type Paint, painter, wrap } from './paint.ts'
import { type ExitCode, exitCodes } from './table.ts'

const LONGEST_MS = 60_000

function configOrDefaults(args: Args): { config: Config; configProblems: readonly string[] } {
  try {
    return { config: loadConfig(args, process.env), configProblems: [] }
  } catch (e) {
    if (!isFault(e, 'invalid')) throw e
    const flags = { settings: new Map(), problems: [] }
    return { config: makeConfig({ files: [], env: {}, flags }), configProblems: problemsOf(e.message) }
  }
}

function addon(): { native: Native | undefined; addonTrouble: string | undefined } {
  try {
    return { native: loadAddon(), addonTrouble: undefined }
  } catch (e) {
    return { native: undefined, addonTrouble: asFault(e).message }
  }
}

const colours: Readonly<Record<Verdict, Colour>> = { ok: 'green', warning: 'yellow', problem: 'red' }

/** `3 problems, 1 warning, 20 ok` */
export function tally(checks: readonly Check[]): string {
  const count = (verdict: Verdict): number => checks.filter((c) => c.verdict === verdict).length
  const many = (n: number, word: string): string => `${n} ${word}${n === 1 ? '' : 's'}`
  return `${many(count('problem'), 'problem')}, ${many(count('warning'), 'warning')}, ${count('ok')} ok`
}

/** The list for people: one check a line or more, the remedy below. Pure. */
export function doctorScreen(checks: readonly Check[], paint: Paint): string {
  const width = Math.max(...checks.map((c) => c.name.length)) + 2
  const lines: string[] = []
  for (const c of checks) {
    const [first = '', ...more] = wrap(c.text, '', Math.max(50, 104 - width - 9))
    lines.push(
      `${paint(colours[c.verdict], c.verdict.padEnd(9))}${paint('bold', c.name.padEnd(width))}${first}`,
    )
    const indent = ' '.repeat(9 + width)
    lines.push(...more.map((l) => indent + l))
    if (c.remedy !== '') lines.push(...wrap(`→ ${c.remedy}`, indent, 104))
  }
  return `${lines.join('\n')}\n\n${tally(checks)}\n`
}

/** `gantry doctor`. Exit code 1 if there is a problem. */
export async function run(args: Args): Promise<ExitCode> {
  const { config, configProblems } = configOrDefaults(args)
  using scope = childScope(
    { signal: new AbortController().signal, log: silent },
    { ms: LONGEST_MS, doing: 'the examination' },
  )
  const machine = await readMachine(scope, { config, configProblems, ...addon() })
  const network = process.platform === 'linux' ? judgeNetwork(await readNetwork(config)) : []
  const checks = [...judgeMachine(machine), ...network]
  const healthy = checks.every((c) => c.verdict !== 'problem')
  process.stdout.write(
    args.own.has('json')
      ? `${JSON.stringify({ ok: healthy, checks }, null, 2)}\n`
      : doctorScreen(checks, painter(process.stdout, process.env)),
  )
  return healthy ? exitCodes.ok : exitCodes.failure
}

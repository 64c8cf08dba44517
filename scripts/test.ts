// SPDX-License-Identifier: Apache-2.0
/**
 * test: runs the check suite and the vitest suites in order and closes with one summary whose last line is
 * `N passed, N failed[, N skipped]`. Arguments name suites; without any, all run. Exit code 1 on any failure
 * and when no test ran. Set-up and build are done before by test.sh; this only needs node_modules.
 */
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { runChecks } from './check.ts'
import { passSignalsOn, runSuite } from './suite-process.ts'
import { suites } from './suites.ts'
import { judge, type SuiteResult } from './tally.ts'

const repo = dirname(dirname(fileURLToPath(import.meta.url)))

async function main(names: readonly string[]): Promise<number> {
  const known = ['check', ...suites.map((s) => s.name)]
  const unknown = names.filter((n) => !known.includes(n))
  if (unknown.length > 0)
    throw new Error(`no such suite: ${unknown.join(', ')} (there are ${known.join(', ')})`)
  const chosen = (name: string): boolean => names.length === 0 || names.includes(name)
  const results: SuiteResult[] = []
  if (chosen('check')) {
    console.log('\n== check')
    results.push(await runChecks(repo))
  }
  for (const suite of suites) {
    if (!chosen(suite.name)) continue
    console.log(`\n== ${suite.name}`)
    results.push(await runSuite(suite))
  }
  const verdict = judge(results, process.env.CI === 'true')
  console.log(`\n== summary\n${verdict.lines.join('\n')}`)
  return verdict.ok ? 0 : 1
}

passSignalsOn()
try {
  process.exitCode = await main(process.argv.slice(2))
} catch (error) {
  console.error(`test: ${error instanceof Error ? error.message : String(error)}`)
  process.exitCode = 1
}

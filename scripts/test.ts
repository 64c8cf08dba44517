// SPDX-License-Identifier: Apache-2.0
/**
 * test: runs the check suite and the vitest suites in order and closes with one summary whose last line is
 * `N passed, N failed[, N skipped]`. Arguments name suites; without any, all run. Exit code 1 on any failure
 * and when no test ran. Set-up and build are done before by test.sh; this only needs node_modules.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { runChecks } from './check.ts'
import { type Suite, suites } from './suites.ts'
import { judge, type Outcome, type SuiteResult } from './tally.ts'

const repo = dirname(dirname(fileURLToPath(import.meta.url)))
const resultDir = join(repo, '.cache/test')
let running: ChildProcess | undefined

/** Signals the group of a suite that this process started: the suite and the test programs in it. */
function signalGroup(child: ChildProcess | undefined, signal: NodeJS.Signals): void {
  if (child?.pid === undefined || child.pid <= 1 || child.exitCode !== null) return
  try {
    process.kill(-child.pid, signal)
  } catch {
    // it has ended meanwhile
  }
}

function hasTests(suite: Suite): boolean {
  const folder = join(repo, 'test', suite.name)
  if (!existsSync(folder)) return false
  return readdirSync(folder, { recursive: true }).some((f) => String(f).endsWith('.test.ts'))
}

async function runSuite(suite: Suite): Promise<SuiteResult> {
  const cannot = suite.cannot?.()
  if (cannot !== undefined) return { suite: suite.name, outcomes: [], seconds: 0, cannot }
  const started = performance.now()
  const resultFile = join(resultDir, `${suite.name}.json`)
  rmSync(resultFile, { force: true })
  const child = spawn(
    process.execPath,
    [join(repo, suite.runner ?? 'scripts/run-suite.ts'), suite.name, resultFile],
    {
      cwd: repo,
      stdio: ['ignore', 'inherit', 'inherit'],
      detached: true,
    },
  )
  running = child
  let overtime = false
  const limit = setTimeout(() => {
    overtime = true
    signalGroup(child, 'SIGTERM')
    setTimeout(() => signalGroup(child, 'SIGKILL'), 10_000).unref()
  }, suite.suiteMs)
  const ended = await new Promise<string>((resolve) => {
    child.on('error', (e) => resolve(e.message))
    child.on('close', (code, signal) => resolve(signal ?? `exit code ${code}`))
  })
  clearTimeout(limit)
  running = undefined
  const outcomes: Outcome[] = existsSync(resultFile) ? JSON.parse(readFileSync(resultFile, 'utf8')) : []
  const failed = outcomes.some((o) => o.state === 'failed')
  if (overtime) outcomes.push({ name: `stopped after ${suite.suiteMs / 1000} s`, state: 'failed' })
  // Vitest may know of a failure that no test carries: its exit code is never talked over.
  else if (ended !== 'exit code 0' && !failed)
    outcomes.push({ name: `vitest ended with ${ended}`, state: 'failed' })
  else if (outcomes.length === 0)
    outcomes.push({ name: 'no test was found in the test files', state: 'failed' })
  return { suite: suite.name, outcomes, seconds: (performance.now() - started) / 1000 }
}

async function main(names: readonly string[]): Promise<number> {
  const known = ['check', ...suites.map((s) => s.name)]
  const unknown = names.filter((n) => !known.includes(n))
  if (unknown.length > 0)
    throw new Error(`no such suite: ${unknown.join(', ')} (there are ${known.join(', ')})`)
  const chosen = (name: string): boolean => names.length === 0 || names.includes(name)
  mkdirSync(resultDir, { recursive: true })
  const results: SuiteResult[] = []
  if (chosen('check')) {
    console.log('\n== check')
    results.push(await runChecks(repo))
  }
  for (const suite of suites) {
    if (!chosen(suite.name) || !hasTests(suite)) continue
    console.log(`\n== ${suite.name}`)
    results.push(await runSuite(suite))
  }
  const verdict = judge(results, process.env.CI === 'true')
  console.log(`\n== summary\n${verdict.lines.join('\n')}`)
  return verdict.ok ? 0 : 1
}

for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.on(signal, () => {
    signalGroup(running, signal)
    process.exitCode = 1
    setTimeout(() => process.exit(1), 5000).unref()
  })

try {
  process.exitCode = await main(process.argv.slice(2))
} catch (error) {
  console.error(`test: ${error instanceof Error ? error.message : String(error)}`)
  process.exitCode = 1
}

// SPDX-License-Identifier: Apache-2.0
/**
 * suite-process: runs one suite as a child process with its time limit and reads the outcomes that it wrote. A
 * suite that hangs is killed, and one that ends badly has failed, whatever it wrote. The verdict is not made here.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Suite } from './suites.ts'
import type { Outcome, SuiteResult } from './tally.ts'

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

/** The suite's outcomes; none, with the reason, where this machine cannot run it. */
export async function runSuite(suite: Suite): Promise<SuiteResult> {
  const cannot = suite.cannot?.()
  if (cannot !== undefined) return { suite: suite.name, outcomes: [], seconds: 0, cannot }
  const started = performance.now()
  mkdirSync(resultDir, { recursive: true })
  const resultFile = join(resultDir, `${suite.name}.json`)
  rmSync(resultFile, { force: true })
  const child = spawn(
    process.execPath,
    [join(repo, suite.runner ?? 'scripts/run-suite.ts'), suite.name, resultFile, ...(suite.args ?? [])],
    {
      cwd: repo,
      stdio: ['ignore', 'inherit', 'inherit'],
      detached: true,
      env: { ...process.env, ...suite.env },
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
    outcomes.push({ name: `the suite ended with ${ended}`, state: 'failed' })
  else if (outcomes.length === 0)
    outcomes.push({ name: 'no test was found in the test files', state: 'failed' })
  return { suite: suite.name, outcomes, seconds: (performance.now() - started) / 1000 }
}

/** From now on SIGINT and SIGTERM end the suite that runs, and then this process. */
export function passSignalsOn(): void {
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.on(signal, () => {
      signalGroup(running, signal)
      process.exitCode = 1
      setTimeout(() => process.exit(1), 5000).unref()
    })
}

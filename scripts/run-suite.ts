// SPDX-License-Identifier: Apache-2.0
/**
 * run-suite: runs one vitest suite in this process and writes what came out as JSON: `run-suite.ts UNIT
 * RESULT.json [FILE…]`, all of test/NAME/ when no file is given. Prints what vitest prints. It is started as a
 * child, so that a hung suite can be killed; the verdict is not made here.
 */
import { writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Reporter, TestModule } from 'vitest/node'
import { startVitest } from 'vitest/node'
import { conformanceSuites, suites } from './suites.ts'
import type { Outcome } from './tally.ts'

function outcomesOf(module: TestModule): Outcome[] {
  const file = module.relativeModuleId
  const all: Outcome[] = []
  for (const test of module.children.allTests()) {
    const result = test.result()
    if (result.state === 'skipped')
      all.push({ name: test.fullName, state: 'skipped', reason: result.note, file })
    else if (result.state === 'passed') all.push({ name: test.fullName, state: 'passed', file })
    // A test that is still pending at the end has not passed, whatever the reason.
    else {
      const detail = (result.errors ?? []).map((e) => e.message).join('\n')
      all.push({ name: test.fullName, state: 'failed', file, detail })
    }
  }
  const broken = [...module.errors()]
  for (const suite of module.children.allSuites()) broken.push(...suite.errors())
  for (const error of broken) all.push({ ...told(error.message), state: 'failed', file })
  return all
}

/** A failure that is no test's: its first line for a name, and the rest. */
function told(text: string): { name: string; detail: string } {
  const [name = '', ...rest] = text.split('\n')
  return { name, detail: rest.join('\n') }
}

async function main([name = '', resultFile = '', ...files]: readonly string[]): Promise<void> {
  const suite = [...suites, ...conformanceSuites].find((s) => s.name === name)
  if (suite === undefined) throw new Error(`there is no suite "${name}"`)
  const outcomes: Outcome[] = []
  const collect: Reporter = {
    onTestRunEnd(modules, unhandled) {
      for (const module of modules) outcomes.push(...outcomesOf(module))
      for (const error of unhandled)
        outcomes.push({ ...told(`unhandled: ${error.message}`), state: 'failed' })
    },
  }
  const vitest = await startVitest(files.length > 0 ? files : [`test/${name}/`], {
    root: dirname(dirname(fileURLToPath(import.meta.url))),
    run: true,
    watch: false,
    // Loaded as it is: nothing is written beside the packages, which are read-only in a guest.
    configLoader: 'native',
    allowOnly: false,
    reporters: ['default', collect],
    fileParallelism: suite.parallel,
    testTimeout: suite.testMs,
    hookTimeout: suite.testMs,
  })
  await vitest.close()
  writeFileSync(resultFile, JSON.stringify(outcomes))
}

await main(process.argv.slice(2))
process.exit(process.exitCode ?? 0)

// SPDX-License-Identifier: Apache-2.0
/**
 * check: everything that can be said about the tree without running it, one outcome a check: format and lint,
 * types, layers, tidy, generated documents, unused code, shell syntax, C format. Changes nothing.
 */
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { judge, type Outcome, type SuiteResult } from './tally.ts'
import { gitFiles } from './tree.ts'

interface Check {
  readonly name: string
  /** Program and arguments, run in the repository; exit code 0 is a pass. */
  readonly run: readonly string[]
  /** Why the check has nothing to look at yet, if so. */
  readonly cannot?: string | undefined
}

function bin(repo: string, name: string): string {
  return join(repo, 'node_modules/.bin', name)
}

function checksOf(repo: string, files: readonly string[]): Check[] {
  const node = process.execPath
  const biome = [bin(repo, 'biome'), 'ci', '--colors=off']
  const shell = files.filter((f) => f.endsWith('.sh') || f === 'bin/gantry' || f === 'bin/gantryd')
  const c = files.filter((f) => /^native\/.*\.[ch]$/.test(f))
  const script = (name: string, ...args: string[]): string[] => [node, `scripts/${name}.ts`, ...args]
  return [
    {
      name: 'format',
      run: [...biome, '--linter-enabled=false', '--assist-enabled=false', '--reporter=summary', '.'],
    },
    { name: 'lint', run: [...biome, '--formatter-enabled=false', '--diagnostic-level=error', '.'] },
    { name: 'types', run: [bin(repo, 'tsc'), '-p', '.'] },
    { name: 'layers', run: script('check-layers') },
    { name: 'tidy', run: script('check-tidy') },
    { name: 'lock', run: script('lock-complete', '--check') },
    { name: 'docs', run: script('gen-docs', '--check') },
    {
      name: 'unused code',
      run: [
        bin(repo, 'knip'),
        '--config',
        'scripts/knip.json',
        '--no-progress',
        '--exclude',
        'types,nsTypes,binaries',
      ],
      cannot: existsSync(join(repo, 'src/main.ts')) ? undefined : 'src/main.ts is not there yet',
    },
    {
      name: 'shell syntax',
      run: [
        'sh',
        '-c',
        'for f; do case $(head -n 1 "$f") in *bash) bash -n "$f";; *) sh -n "$f";; esac || exit 1; done',
        'sh',
        ...shell,
      ],
    },
    {
      name: 'C format',
      run: ['clang-format', '--dry-run', '--Werror', '--style=file', ...c],
      cannot: existsSync(join(repo, 'native/.clang-format'))
        ? undefined
        : 'native/.clang-format is not there yet',
    },
  ]
}

function run(repo: string, check: Check): Promise<{ ok: boolean; output: string }> {
  const [program = '', ...args] = check.run
  const options = { cwd: repo, maxBuffer: 64 << 20, timeout: 180_000 }
  return new Promise((resolve) => {
    execFile(program, args, options, (error, stdout, stderr) => {
      const reason = error !== null && stdout === '' && stderr === '' ? error.message : ''
      resolve({ ok: error === null, output: `${stdout}${stderr}${reason}`.trimEnd() })
    })
  })
}

/** Runs every check in turn and prints the output of those that fail. */
export async function runChecks(repo: string): Promise<SuiteResult> {
  const started = performance.now()
  const outcomes: Outcome[] = []
  for (const check of checksOf(repo, gitFiles(repo))) {
    if (check.cannot !== undefined) {
      outcomes.push({ name: check.name, state: 'skipped', reason: check.cannot })
      continue
    }
    const since = performance.now()
    const { ok, output } = await run(repo, check)
    outcomes.push({ name: check.name, state: ok ? 'passed' : 'failed' })
    const took = `${((performance.now() - since) / 1000).toFixed(1)} s`
    console.log(`${ok ? 'ok    ' : 'FAILED'} ${check.name} (${took})`)
    if (!ok) console.log(output.replace(/^/gm, '    '))
  }
  return { suite: 'check', outcomes, seconds: (performance.now() - started) / 1000 }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const result = await runChecks(dirname(dirname(fileURLToPath(import.meta.url))))
  const verdict = judge([result], process.env.CI === 'true')
  console.log(verdict.lines.join('\n'))
  process.exitCode = verdict.ok ? 0 : 1
}

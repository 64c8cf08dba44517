// SPDX-License-Identifier: Apache-2.0
/**
 * run: critest against the daemon, with the test images in a registry on loopback and everything else in a
 * workspace of its own: `node conformance/critest/run.ts NAME RESULT.json [critest flags…]`, as root, after a
 * build. RESULT.json gets one outcome a spec; what is skipped before it starts stands in skips.json with its
 * reason. It ends with the leak check, and a leak is a failure too. Exit code 3 where Go is missing.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Outcome } from '../../scripts/tally.ts'
import { ensureTestImages } from '../../test/images/build.ts'
import { startDaemon } from '../../test/support/daemon.ts'
import { expectNoLeaks, snapshot } from '../../test/support/leak-check.ts'
import { hostsOf, startRegistry, writeHostsToml } from '../../test/support/registry.ts'
import { makeWorkspace, type Workspace } from '../../test/support/workspace.ts'
import { buildTools } from '../crictl/crictl.ts'
import { writeLocalCritest } from './digest.ts'
import { outcomesOf, type Report, type Skip } from './outcomes.ts'

const parameters = join(import.meta.dirname, 'benchmark.yaml')
/** Where `-benchmark` leaves its figures. */
const benchmarkDir = join(import.meta.dirname, '../out/benchmark/gantry')

async function critest(w: Workspace, flags: readonly string[]): Promise<Outcome[]> {
  const skips: Skip[] = JSON.parse(await readFile(join(import.meta.dirname, 'skips.json'), 'utf8'))
  const program = await writeLocalCritest()
  const benchmark = flags.includes('-benchmark')
  if (benchmark) await mkdir(benchmarkDir, { recursive: true })
  const args = [
    `-runtime-endpoint=unix://${w.socket}`,
    '-ginkgo.no-color',
    '-ginkgo.succinct',
    '-ginkgo.timeout=1h',
    `-ginkgo.json-report=${join(w.root, 'critest.json')}`,
    ...skips.map((s) => `-ginkgo.skip=${s.match}`),
    ...(benchmark
      ? [`-benchmarking-params-file=${parameters}`, `-benchmarking-output-dir=${benchmarkDir}`]
      : []),
    ...flags,
  ]
  // critest runs ginkgo from the path when it is to run in parallel.
  const env = { ...process.env, PATH: `${join(import.meta.dirname, '../bin')}:${process.env.PATH}` }
  const child = spawn(program, args, { stdio: ['ignore', 'inherit', 'inherit'], cwd: w.root, env })
  const [code]: unknown[] = await once(child, 'exit')
  const reports: Report[] = JSON.parse(await readFile(join(w.root, 'critest.json'), 'utf8').catch(() => '[]'))
  const outcomes = outcomesOf(reports, skips, benchmark)
  if (code !== 0 && !outcomes.some((o) => o.state === 'failed'))
    outcomes.push({ name: `critest ended with ${code}`, state: 'failed' })
  return outcomes
}

/** Runs it with the daemon on a workspace; something left behind is one more failure. */
async function onWorkspace(flags: readonly string[]): Promise<Outcome[]> {
  const layout = await ensureTestImages()
  const registry = await startRegistry()
  const workspace = await makeWorkspace()
  try {
    await registry.pushLayout(layout)
    await writeHostsToml(workspace.certs, hostsOf(layout.names), registry.url)
    // critest's own folders under /tmp, and the cgroup it names for pods, are not the daemon's.
    const before = await snapshot(workspace.leakScope())
    const daemon = await startDaemon(workspace)
    const outcomes = await critest(workspace, flags).finally(() => daemon.stop())
    const leaks = await expectNoLeaks(before).then(
      () => [],
      (e: Error): Outcome[] => [{ name: 'nothing is left behind', state: 'failed', detail: e.message }],
    )
    return [...outcomes, ...leaks]
  } finally {
    await workspace.remove()
    await registry.stop()
  }
}

async function main([, result = '', ...flags]: readonly string[]): Promise<number> {
  const cannot = await buildTools('critest', 'ginkgo')
  if (cannot !== undefined) {
    process.stderr.write(`${cannot}\n`)
    return 3
  }
  const outcomes = await onWorkspace(flags)
  await writeFile(result, JSON.stringify(outcomes))
  for (const o of outcomes) if (o.state === 'failed') console.log(`failed: ${o.name}\n${o.detail ?? ''}`)
  return outcomes.some((o) => o.state === 'failed') ? 1 : 0
}

process.exitCode = await main(process.argv.slice(2))

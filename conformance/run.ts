// SPDX-License-Identifier: Apache-2.0
/**
 * run: `npm run conformance [-- SUITE…]`: every suite that clients of a CRI runtime bring along (critest, crictl,
 * a real kubelet), and REPORT.md with what came out, beside its chart. Exit code 1 on any failure.
 */
import { execFile } from 'node:child_process'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { availableParallelism, cpus, release, totalmem } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { passSignalsOn, runSuite } from '../scripts/suite-process.ts'
import { conformanceSuites } from '../scripts/suites.ts'
import { judge, type SuiteResult } from '../scripts/tally.ts'
import { chart, type Figure, figuresOf } from './benchmark.ts'
import { report } from './report.ts'

const here = import.meta.dirname
const figureDir = join(here, 'out/benchmark')
const chartFile = 'benchmark.svg'

/** The first line of what a program says of its version. */
async function versionOf(program: string, ...args: readonly string[]): Promise<string> {
  return promisify(execFile)(program, args).then(
    ({ stdout }) => stdout.split('\n')[0] ?? '',
    () => 'not installed',
  )
}

/** The version of a module that a go.mod pins. */
async function pinned(file: string, module: string): Promise<string> {
  const text = await readFile(join(here, file), 'utf8')
  return new RegExp(`${module} (v\\S+)`).exec(text)?.[1] ?? 'not pinned'
}

async function facts(): Promise<(readonly [string, string])[]> {
  const { version } = JSON.parse(await readFile(join(here, '../package.json'), 'utf8'))
  const system = await readFile('/etc/os-release', 'utf8').catch(() => '')
  const appArmor = await readFile('/sys/module/apparmor/parameters/enabled', 'utf8').catch(() => 'N')
  const controllers = await readFile('/sys/fs/cgroup/cgroup.controllers', 'utf8').catch(() => undefined)
  const kubelets = (await readdir(join(here, 'kubelet'))).filter((name) => /^v\d/.test(name))
  const pins = kubelets.map((name) => pinned(`kubelet/${name}/go.mod`, 'k8s.io/kubernetes'))
  return [
    ['date', new Date().toISOString().slice(0, 16).replace('T', ' ')],
    ['gantry', `${version} on Node.js ${process.version}`],
    ['critest, crictl', await pinned('go/go.mod', 'sigs.k8s.io/cri-tools')],
    ['kubelet', (await Promise.all(pins)).join(', ')],
    ['runc', await versionOf('runc', '--version')],
    ['crun', await versionOf('crun', '--version')],
    [
      'system',
      `${/^PRETTY_NAME="?([^"\n]*)/m.exec(system)?.[1] ?? 'unknown'}, Linux ${release()}, ${process.arch}`,
    ],
    ['processor', `${availableParallelism()} × ${cpus()[0]?.model ?? 'unknown'}`],
    ['memory', `${Math.round(totalmem() / 2 ** 30)} GiB`],
    ['cgroups', controllers === undefined ? 'v1' : 'v2'],
    ['AppArmor', appArmor.startsWith('Y') ? 'on' : 'off'],
  ]
}

/** All figures that lie below out/benchmark/, a folder a runtime; gantry's are those of its last run. */
async function figures(): Promise<Figure[]> {
  const found = await readdir(figureDir, { recursive: true }).catch(() => [])
  const all: Figure[] = []
  for (const path of found.sort()) {
    const [runtime = '', file] = path.split('/')
    if (file?.endsWith('.json'))
      all.push(...figuresOf(runtime, await readFile(join(figureDir, path), 'utf8')))
  }
  return all
}

async function main(names: readonly string[]): Promise<number> {
  const unknown = names.filter((n) => !conformanceSuites.some((s) => s.name === n))
  if (unknown.length > 0)
    throw new Error(
      `no such suite: ${unknown.join(', ')} (there are ${conformanceSuites.map((s) => s.name).join(', ')})`,
    )
  const results: SuiteResult[] = []
  for (const suite of conformanceSuites) {
    if (names.length > 0 && !names.includes(suite.name)) continue
    console.log(`\n== ${suite.name}`)
    results.push(await runSuite(suite))
  }
  const run = { facts: await facts(), results, figures: await figures() }
  await writeFile(join(here, chartFile), chart(run.figures))
  await writeFile(join(here, 'REPORT.md'), report(run, chartFile))
  const verdict = judge(results, process.env.CI === 'true')
  console.log(`\n== summary\n${verdict.lines.join('\n')}`)
  return verdict.ok ? 0 : 1
}

passSignalsOn()
process.exitCode = await main(process.argv.slice(2))

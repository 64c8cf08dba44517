// SPDX-License-Identifier: Apache-2.0
/**
 * full: `npm run test:vm`: the integration suite and critest in a whole Debian under QEMU, with both cgroup drivers.
 * Arguments choose jobs by the beginnings of their names. The output of each is in `.cache/test/vm/NAME.log`; the end
 * is a table to be copied into docs/testing.md. Exit code 1 unless all were good. The build is done before.
 */
import { createWriteStream, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { buildTools } from '../../conformance/crictl/crictl.ts'
import { writeLocalCritest } from '../../conformance/critest/digest.ts'
import { ensureTestImages } from '../images/build.ts'
import { ensureGuest, inGuest } from './qemu/guest.ts'

const logs = join(import.meta.dirname, '../../.cache/test/vm')
const node = 'sh scripts/npm.sh node'

interface Job {
  readonly name: string
  readonly command: string
  readonly timeoutMs: number
}

const jobs = ['systemd', 'cgroupfs'].flatMap((driver): Job[] => {
  const set = `export GANTRY_TEST_CGROUP_DRIVER=${driver};`
  const critest = (handler: string) => ({
    name: `critest-${handler}-${driver}`,
    command: `${set} exec ${node} conformance/critest/run.ts critest /dev/null -runtime-handler=${handler}`,
    timeoutMs: 3_600_000,
  })
  const integration = {
    name: `integration-${driver}`,
    command: `${set} exec ${node} scripts/run-suite.ts integration /tmp/result.json`,
    timeoutMs: 4 * 3_600_000,
  }
  return [critest('runc'), critest('crun'), integration]
})

/** Colours, which vitest and ginkgo put around words. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: that is what they begin with
const colour = /\u001b\[[0-9;]*m/g
/** What the two programs close with. */
const verdict = /^\s*Tests .*(passed|failed)|^(FAIL|SUCCESS)! -/

async function run(job: Job): Promise<{ ok: boolean; row: string }> {
  const log = createWriteStream(join(logs, `${job.name}.log`))
  let said = ''
  const started = performance.now()
  const onLine = (raw: string): void => {
    const line = raw.replace(colour, '')
    log.write(`${line}\n`)
    if (verdict.test(line)) said = line.trim()
  }
  const status = await inGuest(job.command, { onLine, timeoutMs: job.timeoutMs })
  log.end()
  const minutes = ((performance.now() - started) / 60_000).toFixed(1)
  return { ok: status === 0, row: `| ${job.name} | ${status} | ${said} | ${minutes} min |` }
}

async function main(names: readonly string[]): Promise<number> {
  const chosen = jobs.filter((j) => names.length === 0 || names.some((n) => j.name.startsWith(n)))
  if (chosen.length === 0) throw new Error(`no such job: there are ${jobs.map((j) => j.name).join(', ')}`)
  mkdirSync(logs, { recursive: true })
  await ensureTestImages()
  const cannot = await buildTools('crictl', 'critest', 'streamclient')
  if (cannot !== undefined) throw new Error(cannot)
  await writeLocalCritest()
  await ensureGuest()
  const rows: string[] = []
  let ok = true
  for (const job of chosen) {
    const result = await run(job)
    ok &&= result.ok
    rows.push(result.row)
    console.log(result.row)
  }
  console.log(`\n| job | exit status | result | time |\n|---|---|---|---|\n${rows.join('\n')}`)
  return ok ? 0 : 1
}

// The machine ends with this process, whose end also clears up.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1))

process.exitCode = await main(process.argv.slice(2))

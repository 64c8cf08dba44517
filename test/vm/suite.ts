// SPDX-License-Identifier: Apache-2.0
/**
 * suite: how `scripts/test.ts` runs the tests of this folder and of test/systemd: `suite.ts NAME RESULT.json`. What
 * cannot be built in the guest, whose root is read-only, is built here first: test images and crictl. Then one guest
 * runs all tests by `scripts/run-suite.ts`, which writes the result file. Exit code: the guest's. The build was done
 * before.
 */
import { spawn } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { buildTools } from '../../conformance/crictl/crictl.ts'
import { ensureTestImages } from '../images/build.ts'

const here = dirname(fileURLToPath(import.meta.url))
const repo = dirname(dirname(here))
/** Longer than the whole suite takes on a slow machine; `suites.ts` has the limit that counts. */
const guestSeconds = 600

async function main(name: string, resultFile: string): Promise<number> {
  await ensureTestImages()
  const noCrictl = name === 'vm' ? await buildTools('crictl') : undefined
  if (noCrictl !== undefined) console.log(noCrictl)
  const results = dirname(resultFile)
  mkdirSync(results, { recursive: true })
  const inGuest = ['sh', 'scripts/npm.sh', 'node', 'scripts/run-suite.ts', name, resultFile]
  const init = name === 'systemd' ? ['--systemd'] : []
  const args = [
    ...init,
    '--rw',
    results,
    '--disk',
    '2048',
    '--timeout',
    String(guestSeconds),
    '--',
    ...inGuest,
  ]
  const guest = spawn(join(here, 'run.sh'), args, { cwd: repo, stdio: ['ignore', 'inherit', 'inherit'] })
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => guest.kill(signal))
  return new Promise((resolve, reject) => {
    guest.on('error', reject)
    guest.on('close', (code) => resolve(code ?? 1))
  })
}

const [name = '', resultFile = ''] = process.argv.slice(2)
process.exitCode = await main(name, resultFile)

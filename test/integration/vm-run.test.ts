// SPDX-License-Identifier: Apache-2.0
/**
 * `test/vm/run.sh` itself: a command in the second kernel, what it sees and may write, its output and exit status,
 * and that a guest which is given up leaves nothing behind. What is tested in the guest is in test/vm/guest.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { noGuest } from '../../scripts/suites.ts'
import { waitUntil } from '../support/child.ts'
import { processes } from '../support/host-view.ts'
import { expectNoLeaks, type Snapshot, snapshot } from '../support/leak-check.ts'

const run = fileURLToPath(new URL('../vm/run.sh', import.meta.url))
let dir = ''
let against: string | undefined
let before: Snapshot

beforeAll(async () => {
  against = noGuest()
  dir = await mkdtemp('/var/tmp/gt-vmtest-')
  before = await snapshot({ roots: [dir] })
})
afterAll(async () => {
  await expectNoLeaks(before)
  await rm(dir, { recursive: true })
})

interface Ran {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** The guest keeps its files below `dir`, so that what it leaves can be seen. */
function start(...args: string[]): { readonly child: ChildProcess; readonly ended: Promise<Ran> } {
  const child = spawn(run, args, { env: { ...process.env, TMPDIR: dir }, stdio: ['ignore', 'pipe', 'pipe'] })
  const texts = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const)
    child[name].setEncoding('utf8').on('data', (text: string) => {
      texts[name] += text
    })
  return { child, ended: new Promise((resolve) => child.on('close', (code) => resolve({ code, ...texts }))) }
}

async function leftOver(): Promise<string[]> {
  const files = (await readdir(dir)).filter((f) => f.startsWith('gt-vm.'))
  const alive = (await processes()).filter((p) => p.argv.some((word) => word.includes(dir)))
  return [...files, ...alive.map((p) => `${p.pid} ${p.comm}`)]
}
const nothingLeft = () =>
  waitUntil('the guest is gone', async () => (await leftOver()).length === 0, { withinMs: 10_000 })

describe('run.sh', () => {
  it('gives arguments, output and exit status through; only --rw can be written to', async ({ skip }) => {
    if (against !== undefined) skip(against)
    const script = `
      pwd; echo "$1|$2"; echo to stderr >&2
      grep -c cgroup /proc/mounts; cat /sys/module/apparmor/parameters/enabled
      touch ./no-file /usr/no-file && echo written
      echo from inside >"$3/file"; printf unfinished; exit 9`
    const args = ['a  b', `'"$HOME\\`, dir]
    const { code, stdout, stderr } = await start('--rw', dir, '--', 'sh', '-c', script, 'sh', ...args).ended
    const checkout = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '')
    expect([code, stderr]).toEqual([9, ''])
    const [first, second, ...rest] = stdout.replaceAll('\r', '').trimEnd().split('\n')
    expect([first, second]).toEqual([checkout, `a  b|'"$HOME\\`])
    expect(rest).toEqual([
      'to stderr',
      '1',
      'Y',
      expect.stringMatching(/no-file.*Read-only file system/),
      expect.stringMatching(/no-file.*Read-only file system/),
      'unfinished',
    ])
    expect(await readFile(join(dir, 'file'), 'utf8')).toBe('from inside\n')
    await nothingLeft()
  })

  it('runs the command under systemd, in a cgroup of its own', async ({ skip }) => {
    if (against !== undefined) skip(against)
    const script =
      'cat /proc/1/comm /proc/self/cgroup; systemctl is-system-running; busctl --no-legend status >/dev/null && exit 4'
    const { code, stdout, stderr } = await start('--systemd', '--', 'sh', '-c', script).ended
    expect([code, stderr, stdout]).toEqual([4, '', 'systemd\n0::/system.slice/gantry-job.service\nrunning\n'])
    await nothingLeft()
  })

  it('gives up after the time limit with 124, and leaves nothing', async ({ skip }) => {
    if (against !== undefined) skip(against)
    const { code, stderr } = await start('--timeout', '2', '--', 'sleep', '300').ended
    expect(code).toBe(124)
    expect(stderr).toMatch(/no answer within 2 s/)
    await nothingLeft()
  })

  it.for(['SIGTERM', 'SIGKILL'] as const)('ends the guest with itself on %s', async (signal, { skip }) => {
    if (against !== undefined) skip(against)
    const { child, ended } = start('--', 'sleep', '300')
    await waitUntil('the guest runs', async () => (await leftOver()).length > 3, { withinMs: 30_000 })
    child.kill(signal)
    await ended
    const alive = async () => (await leftOver()).filter((name) => !name.startsWith('gt-vm.'))
    await waitUntil('no process is left', async () => (await alive()).length === 0, { withinMs: 10_000 })
    if (signal === 'SIGTERM') expect(await leftOver()).toEqual([])
    else for (const name of await leftOver()) await rm(join(dir, name), { recursive: true })
  })

  it('says how it is used, and refuses what it does not know, with 125', async () => {
    for (const args of [[], ['--'], ['--no-such-option']]) {
      const { code, stderr } = await start(...args).ended
      expect([code, stderr], args.join(' ')).toEqual([
        125,
        expect.stringMatching(/^usage: run\.sh .*-- COMMAND/m),
      ])
    }
  })
})

// SPDX-License-Identifier: Apache-2.0
/**
 * What setup.sh says on a machine that is not right: one sentence and exit code 1, nothing installed. The
 * machine is a folder of stand-in programs in place of PATH; the script itself only adds the sbin folders to it.
 */
import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'

const script = fileURLToPath(new URL('../../../scripts/setup.sh', import.meta.url))
let machine = ''

/** Puts a program on the machine that prints `says`. */
function program(name: string, says: string): void {
  const path = join(machine, name)
  writeFileSync(path, `#!/bin/sh\n${says}\n`)
  chmodSync(path, 0o755)
}

function setup(): { code: number | null; said: string } {
  const ran = spawnSync('/bin/sh', [script, 'test'], { env: { PATH: machine }, encoding: 'utf8' })
  return { code: ran.status, said: ran.stderr + ran.stdout }
}

beforeEach(() => {
  machine = mkdtempSync(join(tmpdir(), 'gt-setup-'))
  for (const tool of ['dirname', 'printf', 'mktemp', 'tail', 'rm', 'chmod'])
    for (const place of ['/usr/bin', '/bin'])
      if (existsSync(join(place, tool)) && !existsSync(join(machine, tool)))
        symlinkSync(join(place, tool), join(machine, tool))
  program('uname', '[ "$1" = -m ] && echo x86_64 || echo Linux')
  program('id', 'echo 0')
  program('node', 'echo v20.1.0')
  program('npm', 'echo "npm was called: $*"; exit 1')
})

afterEach(() => {
  rmSync(machine, { recursive: true })
})

describe('setup.sh', () => {
  test.each([
    ['another system', () => program('uname', 'echo Darwin'), 'gantry runs on Linux only, this is Darwin'],
    [
      'another processor',
      () => program('uname', '[ "$1" = -m ] && echo riscv64 || echo Linux'),
      'gantry runs on x86_64 and aarch64, this machine is riscv64',
    ],
    ['not root', () => program('id', 'echo 1000'), 'this needs root: run it with sudo'],
    [
      'no Node',
      () => rmSync(join(machine, 'node')),
      'Node.js is missing: install Node.js 20 or newer, with npm',
    ],
    [
      'an old Node',
      () => program('node', 'echo v18.19.0'),
      'Node.js 20 or newer is needed, this is v18.19.0',
    ],
    [
      'no npm',
      () => rmSync(join(machine, 'npm')),
      'npm is missing: install the npm that belongs to Node.js v20.1.0',
    ],
  ])('%s: one sentence', (_, make, sentence) => {
    make()
    expect(setup()).toEqual({ code: 1, said: `gantry: ${sentence}\n` })
  })

  test('without apt-get the missing packages are named, and nothing else happens', () => {
    const { code, said } = setup()
    expect(code).toBe(1)
    expect(said).toMatch(
      /^gantry: these packages are missing, by their Debian names:(?: [a-z0-9-]+)* crun gcc make(?: [a-z0-9-]+)*; install them, then run this again\n$/,
    )
  })

  test('apt-get is asked once to update and once to install; its failure is shown', () => {
    program('apt-get', 'echo "apt-get $*"; [ "$1" = update ]')
    const { code, said } = setup()
    expect(code).toBe(1)
    expect(said.match(/^apt-get .*$/gm)).toEqual([
      'apt-get update -q',
      expect.stringMatching(/^apt-get install -qy --no-install-recommends(?: [a-z0-9-]+)* crun gcc make /),
    ])
    expect(said).toMatch(/^gantry: apt-get could not install .*\(its last lines are above\)$/m)
  })
})

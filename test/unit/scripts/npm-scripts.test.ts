// SPDX-License-Identifier: Apache-2.0
/** The npm scripts and the programs around them: the help names all of them, and a stale node_modules is seen. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, statSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { scripts } from '../../../scripts/help.ts'
import { fulfils } from '../../../scripts/lock-fresh.ts'

const repo = fileURLToPath(new URL('../../..', import.meta.url))

describe('npm scripts', () => {
  test('help has a sentence for each script of package.json', () => {
    const { scripts: real } = JSON.parse(readFileSync(join(repo, 'package.json'), 'utf8'))
    expect(Object.keys(scripts).sort()).toEqual(Object.keys(real).sort())
  })

  test('bin/gantry and bin/gantryd can be executed and find the repository through a symlink', () => {
    const folder = mkdtempSync(join(tmpdir(), 'gt-bin-'))
    try {
      for (const name of ['gantry', 'gantryd']) {
        expect(statSync(join(repo, 'bin', name)).mode & 0o111).toBe(0o111)
        symlinkSync(join(repo, 'bin', name), join(folder, name))
        // -n reads the script through the link; -x shows what it would run without running Node.
        const text = readFileSync(join(folder, name), 'utf8').replace(/^exec .*$/m, 'echo "$repo"')
        const shown = execFileSync('sh', [
          '-c',
          text.replace(/if \[ ! -x[\s\S]*?\nfi\n/, ''),
          join(folder, name),
        ])
        expect(shown.toString().trim()).toBe(repo.replace(/\/$/, ''))
      }
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
})

describe('lock-fresh', () => {
  const lock = (packages: Record<string, object>): string => JSON.stringify({ packages })
  const wanted = lock({
    '': {},
    'node_modules/a': { version: '1.0.0', integrity: 'sha512-a' },
    'node_modules/b': { version: '2.0.0', integrity: 'sha512-b', optional: true },
  })

  test.each([
    ['the same packages', { 'node_modules/a': { version: '1.0.0', integrity: 'sha512-a' } }, true],
    ['another version', { 'node_modules/a': { version: '1.0.1', integrity: 'sha512-a' } }, false],
    ['other bytes', { 'node_modules/a': { version: '1.0.0', integrity: 'sha512-x' } }, false],
    ['a package that is missing', {}, false],
    [
      'a package too many',
      {
        'node_modules/a': { version: '1.0.0', integrity: 'sha512-a' },
        'node_modules/c': { version: '1.0.0' },
      },
      false,
    ],
  ])('%s: %#', (_, installed, expected) => {
    expect(fulfils(wanted, lock(installed))).toBe(expected)
  })
})

// SPDX-License-Identifier: Apache-2.0
/**
 * The list of options and all that follows from it: names are unique, every option has its sentence, flags and
 * nearest names work, and the texts that gantry prints can be read back.
 */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseFlags, shortFlags } from '../../../src/config/flags.ts'
import { makeConfig, optionOf } from '../../../src/config/load.ts'
import { distance, nearest } from '../../../src/config/nearest.ts'
import { flagOf, optionKeys, placeOf, variableOf } from '../../../src/config/schema.ts'
import { configDefaultToml, configPage, configShowToml } from '../../../src/config/show.ts'

const noFlags = { settings: new Map(), problems: [] }
const load = (text: string) => makeConfig({ files: [{ path: 'x.toml', text }], env: {}, flags: noFlags })

describe('the list of options', () => {
  test('flags, variables and places of the Config are unique', () => {
    for (const name of [flagOf, variableOf, (k: string) => placeOf(k).join('.')])
      expect(new Set(optionKeys.map(name)).size).toBe(optionKeys.length)
    for (const flag of optionKeys.map(flagOf)) expect(flag).not.toMatch(/^(no-|config$)/)
  })

  test('every option has a sentence, and its default keeps its own rule', () => {
    for (const key of optionKeys) {
      const option = optionOf(key)
      expect(option.help, key).toMatch(/^[A-Z`].+\.$/)
      if (option.fallback !== undefined)
        expect(option.read(option.fallback), key).toEqual({ value: option.fallback })
    }
  })

  test('every option can be set by its flag and its variable', () => {
    for (const key of optionKeys) {
      const option = optionOf(key)
      const value = option.fallback ?? '/run/x.sock'
      const text = Array.isArray(value) ? value.join(',') : String(value)
      const flags = parseFlags([`--${flagOf(key)}=${text}`])
      expect(flags.problems, key).toEqual([])
      expect(flags.settings.get(key), key).toBe(text)
      makeConfig({ files: [], env: {}, flags })
      makeConfig({ files: [], env: { [variableOf(key)]: text }, flags: noFlags })
    }
  })
})

describe('flags', () => {
  test('values stand behind "=" or in the next word; words and the command’s own switches are kept apart', () => {
    const flags = parseFlags(
      ['serve', '--root', '/a', '--log-level=debug', '--self-check', '--', '--x'],
      ['self-check'],
    )
    expect([...flags.settings]).toEqual([
      ['root', '/a'],
      ['log.level', 'debug'],
    ])
    expect([...flags.own]).toEqual(['self-check'])
    expect(flags.words).toEqual(['serve', '--x'])
    expect(flags.problems).toEqual([])
  })

  test.each([
    ['--idle-trim', true],
    ['--no-idle-trim', false],
    ['--idle-trim=false', 'false'],
    ['--default-network', true],
  ])('%s is a switch', (flag, expected) => {
    const flags = parseFlags([flag, 'word'])
    expect([...flags.settings.values()]).toEqual([expected])
    expect(flags.words).toEqual(['word'])
  })

  test.each([
    ['--no-idle-trim=true', '--no-idle-trim: takes no value'],
    ['--self-check=1', '--self-check: takes no value'],
    ['--no-root', '--no-root: there is no such flag'],
    ['--constructor', '--constructor: there is no such flag'],
    ['--self-chek', '--self-chek: there is no such flag; did you mean --self-check?'],
  ])('%s is refused', (flag, expected) => {
    expect(parseFlags([flag], ['self-check']).problems).toEqual([expected])
  })

  test('a short flag stands for an option that exists', () => {
    for (const key of Object.values(shortFlags)) expect(optionKeys).toContain(key)
  })
})

describe('nearest', () => {
  test('a swap, a missing, a wrong and a further letter are one step each', () => {
    expect(distance('levle', 'level')).toBe(1)
    expect(distance('levl', 'level')).toBe(1)
    expect(distance('lefel', 'level')).toBe(1)
    expect(distance('leveel', 'level')).toBe(1)
    expect(distance('', 'abc')).toBe(3)
  })

  test('it is symmetric, zero only for equal words, and never more than the longer word', () => {
    const word = fc.string({ maxLength: 12 })
    fc.assert(
      fc.property(word, word, (a, b) => {
        const d = distance(a, b)
        expect(d).toBe(distance(b, a))
        expect(d === 0).toBe(a === b)
        expect(d).toBeLessThanOrEqual(Math.max(a.length, b.length))
      }),
    )
  })

  test('what is far from everything has no nearest', () => {
    expect(nearest('abcdefgh', ['root', 'socket'])).toBeUndefined()
    expect(nearest('x'.repeat(1_000_000), ['root'])).toBeUndefined()
  })
})

describe('texts', () => {
  test('the default file is TOML that changes nothing, also with every line in force', () => {
    const text = configDefaultToml()
    const { files: _, ...defaults } = load('')
    const { files: __, ...commented } = load(text)
    expect(commented).toEqual(defaults)
    const { files: ___, runtimes, ...inForce } = load(text.replace(/^#(?=[\w[])/gm, ''))
    for (const [name, value] of Object.entries(inForce))
      expect(value, name).toEqual(Reflect.get(defaults, name))
    expect(runtimes.runc).toMatchObject({ explicit: true, root: '/run/gantry/oci/runc' })
  })

  test('what is shown loads as the same configuration', () => {
    const config = load(
      'root = "/srv/\\"g"\nrun_dir = "/run/g"\n[cni]\nbin_dirs = []\ntimeout_ms = "5s"\n[runtimes."a.b"]\nkind = "runsc"\nroot = "/x"\nargs = ["--q=\\"1\\""]\nprivileged_without_host_devices = true\nprivileged_without_host_devices_all_devices_allowed = true',
    )
    expect(load(configShowToml(config))).toEqual(config)
    expect(configShowToml(config)).toContain('# from x.toml')
  })

  test('the page has every option with its flag and variable', () => {
    const page = configPage()
    for (const key of optionKeys) {
      expect(page).toContain(`### ${key}\n\n${optionOf(key).help}\n`)
      expect(page).toContain(`\`--${flagOf(key)}\``)
      expect(page).toContain(`variable: \`${variableOf(key)}\``)
    }
  })
})

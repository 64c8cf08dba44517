// SPDX-License-Identifier: Apache-2.0
/**
 * The configuration as an operator meets it: which source wins, what is refused, how every problem is reported
 * with its place, and the rules over several options.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Fault } from '../../../src/base/fault.ts'
import { parseFlags } from '../../../src/config/flags.ts'
import { loadConfig, makeConfig } from '../../../src/config/load.ts'
import type { Config } from '../../../src/config/schema.ts'

interface Given {
  toml?: string | string[]
  env?: Record<string, string>
  argv?: string[]
}

function make({ toml = [], env = {}, argv = [] }: Given): Config {
  const files = [toml].flat().map((text, i) => ({ path: `/etc/${'abc'[i]}.toml`, text }))
  return makeConfig({ files, env, flags: parseFlags(argv) })
}

/** The problems, one a line, without the heading. */
function problems(given: Given): string[] {
  try {
    make(given)
  } catch (error) {
    if (!(error instanceof Fault)) throw error
    expect(error.kind).toBe('invalid')
    return error.message
      .split('\n')
      .slice(1)
      .map((line) => line.trim())
  }
  return []
}

describe('what is in force', () => {
  test('without any source the defaults are', () => {
    const config = make({})
    expect(config.root).toBe('/var/lib/gantry')
    expect(config.socket).toBe('/run/gantry/gantry.sock')
    expect(config.cni.binDirs).toEqual(['/opt/cni/bin', '/usr/lib/cni', '/usr/libexec/cni'])
    expect(config.limits.maxMessageBytes).toBe(80 * 1024 * 1024)
    expect(Object.keys(config.runtimes)).toEqual(['runc', 'crun'])
    expect(config.runtimes.runc).toEqual({
      kind: 'runc',
      path: 'runc',
      root: undefined,
      args: [],
      explicit: false,
    })
  })

  test('a later file wins over an earlier one, the environment over files, flags over all', () => {
    const toml = ['[log]\nlevel = "warn"\nformat = "text"', '[log]\nlevel = "error"']
    expect(make({ toml }).log).toEqual({ level: 'error', format: 'text' })
    expect(make({ toml, env: { GANTRY_LOG_LEVEL: 'info' } }).log.level).toBe('info')
    expect(make({ toml, env: { GANTRY_LOG_LEVEL: 'info' }, argv: ['--log-level=debug'] }).log.level).toBe(
      'debug',
    )
  })

  test('the socket follows run_dir unless it is set', () => {
    expect(make({ argv: ['--run-dir=/run/g'] }).socket).toBe('/run/g/gantry.sock')
    expect(make({ argv: ['--run-dir=/run/g', '--socket=/s'] }).socket).toBe('/s')
  })

  test('durations and sizes may be written with their unit', () => {
    const config = make({ toml: '[cni]\ntimeout_ms = "90s"\n[limits]\nmax_message_bytes = "16MiB"' })
    expect(config.cni.timeoutMs).toBe(90_000)
    expect(config.limits.maxMessageBytes).toBe(16 * 1024 * 1024)
    expect(make({ env: { GANTRY_SHUTDOWN_DRAIN_MS: '250' } }).shutdown.drainMs).toBe(250)
  })

  test('lists are separated by commas where there is no TOML', () => {
    expect(make({ argv: ['--cni-bin-dirs=/a,/b/'] }).cni.binDirs).toEqual(['/a', '/b'])
  })

  test('a runtime is merged field by field, and known by its name', () => {
    const toml = [
      '[runtimes.gvisor]\nkind = "runsc"\npath = "/opt/runsc"',
      '[runtimes.gvisor]\nargs = ["--platform=kvm"]',
    ]
    expect(make({ toml }).runtimes.gvisor).toEqual({
      kind: 'runsc',
      path: '/opt/runsc',
      root: undefined,
      args: ['--platform=kvm'],
      explicit: true,
    })
    const options = [
      'pod_annotations = ["io.*"]\ncontainer_annotations = ["a", "b"]\nannotations = { "x.y" = "z" }',
      'base_spec = "/b.json"\nhooks_dirs = ["/h/", "/i"]',
    ]
    expect(make({ toml: options.map((o) => `[runtimes.runc]\n${o}`) }).runtimes.runc).toMatchObject({
      podAnnotations: ['io.*'],
      containerAnnotations: ['a', 'b'],
      annotations: { 'x.y': 'z' },
      baseSpec: '/b.json',
      hooksDirs: ['/h', '/i'],
    })
    const crun = make({ toml: '[runtimes.crun]\nroot = "/run/x"' }).runtimes.crun
    expect(crun).toMatchObject({ kind: 'crun', path: 'crun', root: '/run/x', explicit: true })
  })

  test('it is frozen to the ground', () => {
    const config = make({ toml: '[runtimes.x]\nkind = "runc"\nargs = ["a"]' })
    const frozen = (value: unknown): boolean =>
      typeof value !== 'object' ||
      value === null ||
      (Object.isFrozen(value) && Object.values(value).every(frozen))
    expect(frozen(config)).toBe(true)
  })
})

describe('what is refused', () => {
  test.each<[string, Given, string]>([
    [
      'a key with a slip',
      { toml: 'rot = "/x"' },
      '/etc/a.toml: rot: there is no such option; did you mean root?',
    ],
    [
      'a key in a table',
      { toml: '[log]\nlevl = "info"' },
      '/etc/a.toml: log.levl: there is no such option; did you mean log.level?',
    ],
    [
      'a key in the wrong table',
      { toml: 'bin_dirs = []' },
      '/etc/a.toml: bin_dirs: there is no such option; did you mean cni.bin_dirs?',
    ],
    [
      'a table with a slip',
      { toml: '[cgruop]\ndriver = "auto"' },
      '/etc/a.toml: cgruop: there is no such option; did you mean cgroup?',
    ],
    [
      'a key like nothing',
      { toml: 'zzzzzzzzzzzz = 1' },
      '/etc/a.toml: zzzzzzzzzzzz: there is no such option',
    ],
    ['a table as a value', { toml: 'log = "info"' }, '/etc/a.toml: log: this is a table: write it as [log]'],
    [
      'a word that is not allowed',
      { toml: '[log]\nlevel = "loud"' },
      '/etc/a.toml: log.level: "loud" is not one of debug, info, warn, error',
    ],
    ['a wrong type', { toml: 'root = 5' }, '/etc/a.toml: root: 5 is not a string'],
    ['a relative path', { argv: ['--root=var'] }, '--root: "var" is not an absolute path without ".."'],
    [
      'a path upwards',
      { env: { GANTRY_ROOT: '/a/../b' } },
      'GANTRY_ROOT: "/a/../b" is not an absolute path without ".."',
    ],
    [
      'a number out of range',
      { toml: '[images]\nmax_concurrent_layers = 65' },
      '/etc/a.toml: images.max_concurrent_layers: 65 is not between 1 and 64',
    ],
    [
      'a broken number',
      { toml: '[images]\nmax_concurrent_layers = 1.5' },
      '/etc/a.toml: images.max_concurrent_layers: 1.5 is not a whole number',
    ],
    [
      'an unknown unit',
      { toml: '[cni]\ntimeout_ms = "90x"' },
      '/etc/a.toml: cni.timeout_ms: "90x" is not a whole number of milliseconds (or a string as "1s")',
    ],
    [
      'a list that is none',
      { toml: '[cni]\nbin_dirs = 1' },
      '/etc/a.toml: cni.bin_dirs: 1 is not a list of paths',
    ],
    [
      'a list with a wrong item',
      { toml: '[cni]\nbin_dirs = ["a"]' },
      '/etc/a.toml: cni.bin_dirs: "a" is not an absolute path without ".."',
    ],
    [
      'a bridge with a long name',
      { argv: ['--cni-default-bridge=gantry-bridge-00'] },
      '--cni-default-bridge: "gantry-bridge-00" is not the name of an interface, at most 15 letters, digits, "_", "." and "-"',
    ],
    [
      'a subnet with host bits',
      { argv: ['--cni-default-subnet=10.1.2.3/16'] },
      '--cni-default-subnet: "10.1.2.3/16" has bits set behind its /16',
    ],
    [
      'a subnet that is none',
      { argv: ['--cni-default-subnet=10.1.0.0'] },
      '--cni-default-subnet: "10.1.0.0" is not an IPv4 subnet of 8 to 28 bits, as "10.213.0.0/16"',
    ],
    [
      'a group that is none',
      { argv: ['--socket-group=a b'] },
      '--socket-group: "a b" is not the name or number of a group',
    ],
    [
      'a variable with a slip',
      { env: { GANTRY_LOG_LEVLE: 'info' } },
      'GANTRY_LOG_LEVLE: there is no such variable; did you mean GANTRY_LOG_LEVEL?',
    ],
    [
      'a flag with a slip',
      { argv: ['--log-levle=info'] },
      '--log-levle: there is no such flag; did you mean --log-level?',
    ],
    [
      'a runtime field with a slip',
      { toml: '[runtimes.runc]\npaht = "x"' },
      '/etc/a.toml: runtimes.runc.paht: there is no such option; did you mean path?',
    ],
    ...[
      ['hooks_dirs = ["h"]', 'hooks_dirs: not a list of absolute paths'],
      ['hooks_dirs = "/h"', 'hooks_dirs: not a list of absolute paths'],
      ['base_spec = "b.json"', 'base_spec: not an absolute path'],
      ['pod_annotations = [1]', 'pod_annotations: not a list of strings'],
      ['annotations = { a = 1 }', 'annotations: not a table of strings'],
    ].map(([toml, said]): [string, { toml: string }, string] => [
      `a runtime with ${toml}`,
      { toml: `[runtimes.runc]\n${toml}` },
      `/etc/a.toml: runtimes.runc.${said}`,
    ]),
    [
      'a runtime of unknown kind',
      { toml: '[runtimes.kata]\npath = "kata"' },
      '/etc/a.toml: runtimes.kata.kind: missing; it is one of runc, crun, runsc',
    ],
    [
      'a runtime with a bad name',
      { toml: '[runtimes."A b"]\nkind = "runc"' },
      '/etc/a.toml: runtimes.A b: a handler is named like a DNS label: a-z, 0-9, "-" and "."',
    ],
    [
      'a runtime that is no table',
      { toml: 'runtimes = 1' },
      '/etc/a.toml: runtimes: this is a table of tables: write [runtimes.NAME]',
    ],
    [
      'a relative program',
      { toml: '[runtimes.runc]\npath = "bin/runc"' },
      '/etc/a.toml: runtimes.runc.path: neither an absolute path nor the bare name of a program',
    ],
    [
      'arguments that are none',
      { toml: '[runtimes.runc]\nargs = "x"' },
      '/etc/a.toml: runtimes.runc.args: not a list of strings',
    ],
    [
      'a switch that is none',
      { toml: '[runtimes.runc]\nprivileged_without_host_devices = 1' },
      '/etc/a.toml: runtimes.runc.privileged_without_host_devices: not true or false',
    ],
    [
      'leave to use devices that are there',
      { toml: '[runtimes.runc]\nprivileged_without_host_devices_all_devices_allowed = true' },
      '/etc/a.toml: runtimes.runc.privileged_without_host_devices_all_devices_allowed: needs privileged_without_host_devices',
    ],
    [
      'a default that is not there',
      { argv: ['--default-runtime=rucn'] },
      '--default-runtime: there is no runtime "rucn"; did you mean runc?',
    ],
    [
      'a run_dir that is too long',
      { argv: [`--run-dir=/${'r'.repeat(22)}`] },
      '--run-dir: 1 bytes too long: the socket of a container in it would not fit into 107 bytes',
    ],
    [
      'a socket that is too long',
      { argv: [`--socket=/${'s'.repeat(107)}`] },
      '--socket: longer than 107 bytes, more than a unix socket can have',
    ],
    [
      'run_dir inside root',
      { argv: ['--root=/run', '--run-dir=/run/g'] },
      '--run-dir: root (/run) and run_dir (/run/g) must not hold one another',
    ],
    ['the root of everything', { argv: ['--root=/'] }, '--root: not "/" itself'],
  ])('%s', (_, given, expected) => {
    expect(problems(given)).toEqual([expected])
  })

  test('a file that is no TOML is named with line and column', () => {
    expect(problems({ toml: '[log]\nlevel = \n' })[0]).toMatch(/^\/etc\/a\.toml:2:\d+: /)
    expect(problems({ toml: '__proto__ = 1\n' })[0]).toMatch(/^\/etc\/a\.toml:1:/)
  })

  test('all problems are told at once, each with its own place', () => {
    const given = {
      toml: ['[log]\nlevel = "loud"\ncolour = 1', 'root = "x"'],
      env: { GANTRY_IMAGES_MAX_CONCURRENT_LAYERS: 'many' },
      argv: ['--nothing', '--socket'],
    }
    const places = problems(given).map((p) => p.split(':').slice(0, 2).join(':'))
    expect(places).toEqual([
      '/etc/a.toml: log.level',
      '/etc/a.toml: log.colour',
      '/etc/b.toml: root',
      'GANTRY_IMAGES_MAX_CONCURRENT_LAYERS: "many" is not a whole number',
      '--nothing: there is no such flag',
      '--socket: needs a value',
    ])
  })

  test('variables of the test suites and fault points are none of its business', () => {
    expect(problems({ env: { GANTRY_FAULT: 'x=kill', GANTRY_TEST_ADDON: '/x', PATH: '/bin' } })).toEqual([])
  })
})

describe('files on disk', () => {
  let folder = ''
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'gt-config-'))
  })
  afterEach(() => {
    rmSync(folder, { recursive: true })
  })

  test('drop-ins beside the file are read in lexical order, other files are not', () => {
    const file = join(folder, 'gantry.toml')
    mkdirSync(join(folder, 'conf.d'))
    writeFileSync(file, 'idle_trim = false\n[log]\nlevel = "warn"')
    writeFileSync(join(folder, 'conf.d/20.toml'), '[log]\nlevel = "error"')
    writeFileSync(join(folder, 'conf.d/10.toml'), '[log]\nlevel = "debug"\nformat = "text"')
    writeFileSync(join(folder, 'conf.d/30.toml.old'), 'nonsense')
    const config = loadConfig(parseFlags([`--config=${file}`]), {})
    expect(config.log).toEqual({ level: 'error', format: 'text' })
    expect(config.idleTrim).toBe(false)
    expect(config.files).toEqual([file, join(folder, 'conf.d/10.toml'), join(folder, 'conf.d/20.toml')])
  })

  test('a file that was asked for has to exist, by flag and by variable', () => {
    const gone = join(folder, 'gone.toml')
    const expected = `the configuration has a problem:\n  ${gone}: cannot be read: ENOENT`
    expect(() => loadConfig(parseFlags([`--config=${gone}`]), {})).toThrow(expected)
    expect(() => loadConfig(parseFlags([]), { GANTRY_CONFIG: gone })).toThrow(expected)
  })

  test('a folder in place of a file is a problem like any other', () => {
    expect(() => loadConfig(parseFlags(['--config', folder, '--bad']), {})).toThrow(/EISDIR[\s\S]*--bad/)
  })
})

// SPDX-License-Identifier: Apache-2.0
/** SIGHUP: the level is taken over, what else changed is named, and a broken configuration changes nothing. */
import { expect, test } from 'vitest'
import { Fault } from '../../src/base/fault.ts'
import { type Level, type LogFields, silent } from '../../src/base/log.ts'
import { makeConfig } from '../../src/config/load.ts'
import type { Config } from '../../src/config/schema.ts'
import { reload } from '../../src/reload.ts'

const configOf = (text: string) =>
  makeConfig({
    files: [{ path: 'gantry.toml', text }],
    env: {},
    flags: { settings: new Map(), problems: [] },
  })

function reloaded(read: () => Config) {
  const said: [string, LogFields | undefined][] = []
  const told: string[] = []
  const say = (event: string, fields?: LogFields) => void said.push([event, fields])
  const sink = { level: 'info' as Level, log: { ...silent, info: say, error: say } }
  const notify = { ready: () => void told.push('ready'), reloading: () => void told.push('reloading') }
  reload({ sink, notify, config: configOf(''), read })
  expect(told).toEqual(['reloading', 'ready'])
  return { level: sink.level, said }
}

test('the level is taken over', () => {
  expect(reloaded(() => configOf('[log]\nlevel = "debug"'))).toEqual({
    level: 'debug',
    said: [['reloaded', { level: 'debug' }]],
  })
})

test('what needs a restart is named', () => {
  const text = '[cni]\ndefault_network = true\n[runtimes.mine]\nkind = "runc"\npath = "/bin/true"'
  expect(reloaded(() => configOf(text)).said).toEqual([
    ['reloaded', { level: 'info', needsRestart: ['cni.default_network', 'runtimes'] }],
  ])
})

test('a configuration with a problem changes nothing and is told', () => {
  const broken = () => {
    throw new Fault('invalid', 'log.level: "loud" is not one of them')
  }
  expect(reloaded(broken)).toEqual({
    level: 'info',
    said: [['not-reloaded', { error: 'log.level: "loud" is not one of them' }]],
  })
})

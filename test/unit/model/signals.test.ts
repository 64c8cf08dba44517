// SPDX-License-Identifier: Apache-2.0
/** Signals: all 65 values of the CRI's enum against the kernel's numbers, and the ways in which images name them. */
import { readFileSync } from 'node:fs'
import { constants } from 'node:os'
import { expect, test } from 'vitest'
import { signalFromCri, signalNumber, signalToCri } from '../../../src/model/signals.ts'

const proto = readFileSync(new URL('../../../proto/runtime/v1/api.proto', import.meta.url), 'utf8')
const body = /enum Signal \{([^}]*)\}/.exec(proto)?.[1] ?? ''
const values = [...body.matchAll(/SIGNAL_(\w+)\s*=\s*(\d+);/g)].map(
  ([, name = '', value]) => [name, Number(value)] as const,
)
const kernel: Readonly<Record<string, number>> = { ...constants.signals, SIGCLD: 17 }

/** The number that a name of the enum stands for, by the kernel's own table. */
function numberOf(name: string): number | undefined {
  const real = /^SIGRT(MIN|MAX)(?:(?:PLUS|MINUS)(\d+))?$/.exec(name)
  if (!real) return kernel[name]
  return real[1] === 'MIN' ? 34 + Number(real[2] ?? 0) : 64 - Number(real[2] ?? 0)
}

test('the enum has 65 signals and the default', () => {
  expect(values.map(([, value]) => value)).toEqual(Array.from({ length: 66 }, (_, i) => i))
})

test.each(values.slice(1))('%s is value %i', (name, value) => {
  const number = numberOf(name)
  expect(number).toBeGreaterThan(0)
  expect(signalFromCri(value)).toBe(number)
  expect(signalFromCri(signalToCri(number ?? 0))).toBe(number)
  const spelled = name.replace('PLUS', '+').replace('MINUS', '-')
  expect([signalNumber(spelled), signalNumber(spelled.toLowerCase().slice(3))]).toEqual([number, number])
})

test('of two names for one signal the common one is shown', () => {
  const nameOf = (number: number) => values.find(([, value]) => value === signalToCri(number))?.[0]
  expect([17, 6, 29, 15, 9].map(nameOf)).toEqual(['SIGCHLD', 'SIGABRT', 'SIGIO', 'SIGTERM', 'SIGKILL'])
})

test.each([0, -1, 66, 1000])('%i is no value of the enum', (value) => {
  expect(signalFromCri(value)).toBeUndefined()
})

test.each([
  ['15', 15],
  [' 64 ', 64],
  ['sigterm', 15],
  ['RTMIN+3', 37],
  ['SIGRTMAX-1', 63],
])('an image may say "%s"', (text, number) => {
  expect(signalNumber(text)).toBe(number)
})

test.each([
  '',
  '0',
  '65',
  '-9',
  '1.5',
  'SIGNOPE',
  'SIGRTMIN+31',
  'SIGRTMIN-1',
  'SIGRTMAX+1',
  'constructor',
  '__proto__',
])('but not "%s"', (text) => {
  expect(signalNumber(text)).toBeUndefined()
})

test('a number that is no signal has no value', () => {
  expect([0, 32, 33, 65].map(signalToCri)).toEqual([0, 0, 0, 0])
})

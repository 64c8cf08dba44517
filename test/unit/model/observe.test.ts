// SPDX-License-Identifier: Apache-2.0
/** Where metrics may be served and traces sent: what an operator may write, and what that means. */
import { describe, expect, it } from 'vitest'
import { options } from '../../../src/config/schema.ts'
import { metricsPlace } from '../../../src/model/observe.ts'

const accepted = (key: 'metrics.address' | 'traces.endpoint', text: string) =>
  'value' in options[key].read(text)

describe('metrics.address', () => {
  it.each([
    ['127.0.0.1:9464', { host: '127.0.0.1', port: 9464 }],
    ['[::1]:0', { host: '::1', port: 0 }],
    ['unix:///run/gantry/m.sock', { path: '/run/gantry/m.sock' }],
  ])('%s is a place', (text, place) => {
    expect(accepted('metrics.address', text)).toBe(true)
    expect(metricsPlace(text)).toEqual(place)
  })

  it.each([
    '0.0.0.0:9464',
    ':9464',
    '9464',
    '[::]:9464',
    '10.0.0.1:9464',
    '127.0.0.1',
    '127.0.0.1:70000',
    'unix://m',
    'localhost:1',
  ])('%s is refused: not of this node alone, or no place', (text) =>
    expect(accepted('metrics.address', text)).toBe(false),
  )
})

describe('traces.endpoint', () => {
  it.each(['', 'http://127.0.0.1:4318', 'https://collector.example/otlp/v1/traces'])('%j is taken', (text) =>
    expect(accepted('traces.endpoint', text)).toBe(true),
  )

  it.each(['127.0.0.1:4318', 'grpc://x:4317', 'file:///etc/passwd', 'https://user:secret@x/'])(
    '%s is refused',
    (text) => expect(accepted('traces.endpoint', text)).toBe(false),
  )

  it('a refusal does not repeat a password', () =>
    expect(JSON.stringify(options['traces.endpoint'].read('https://user:secret@x/'))).not.toContain('secret'))
})

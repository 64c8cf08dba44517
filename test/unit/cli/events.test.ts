// SPDX-License-Identifier: Apache-2.0
/** What `gantry events` makes of the CRI's messages, and which of them it shows. */
import { describe, expect, test } from 'vitest'
import { filterOf, lineOf, reader } from '../../../src/cli/events.ts'

const pod = { id: 'p1', metadata: { name: 'web', namespace: 'default', uid: 'u', attempt: 0 } }
const image = { image: 'docker.io/library/busybox:1', userSpecifiedImage: 'busybox:1' }
const container = { id: 'c1', metadata: { name: 'app', attempt: 0 }, image }
const at = 1_767_323_045_000_000_006n
const message = (containerId: string, containerEventType: number, more: object = {}) => ({
  containerId,
  containerEventType,
  createdAt: at,
  podSandboxStatus: pod,
  containersStatuses: [container],
  ...more,
})

describe('a line', () => {
  const lines = (...messages: ReturnType<typeof message>[]) => {
    const read = reader()
    return messages.map((m) => lineOf(read(m)).replace('2026-01-02T03:04:05.000000006Z ', ''))
  }

  test('has time, what, which word, id, and the rest by name', () => {
    expect(lineOf(reader()(message('c1', 1)))).toBe(
      '2026-01-02T03:04:05.000000006Z container start c1 (image=busybox:1, name=app, pod=default/web)',
    )
  })

  test('of a container that ended has its exit code and reason', () => {
    const ended = { containersStatuses: [{ ...container, exitCode: 137, reason: 'OOMKilled' }] }
    expect(lines(message('c1', 2, ended))).toEqual([
      'container die c1 (exitCode=137, image=busybox:1, name=app, pod=default/web, reason=OOMKilled)',
    ])
  })

  test('of one that is gone has the name that was heard before, or was there at the beginning', () => {
    const gone = message('c1', 3, { containersStatuses: [] })
    const named = 'container destroy c1 (image=busybox:1, name=app, pod=default/web)'
    expect(lines(message('c1', 2), gone)[1]).toBe(named)
    expect(lines(gone)).toEqual(['container destroy c1 (pod=default/web)'])
    expect(lineOf(reader([container])(gone))).toContain(named)
  })

  test('of a pod has the words of pods, of a stranger no terminal codes', () => {
    expect(lines(message('p1', 0), message('p1', 2), message('p1', 3), message('p1', 9))).toEqual([
      'pod create p1 (pod=default/web)',
      'pod stop p1 (pod=default/web)',
      'pod remove p1 (pod=default/web)',
      'pod event-9 p1 (pod=default/web)',
    ])
    const evil = { ...container, metadata: { name: 'a\u001b[2J', attempt: 0 } }
    expect(lines(message('c1', 0, { containersStatuses: [evil] }))[0]).toContain('name=a?[2J')
  })
})

describe('filters', () => {
  const event = reader()(message('c1', 1))
  test.each([
    [undefined, true],
    ['type=container,event=start', true],
    ['event=die,event=start', true],
    ['event=die', false],
    ['id=c', true],
    ['id=c2', false],
    ['pod=default/web,name=app', true],
    ['pod=default/web,name=other', false],
    ['image=busybox:1', true],
  ])('%s: %s', (text, shown) => {
    expect(filterOf(text)(event)).toBe(shown)
  })

  test('that are unknown are refused with those that there are', () => {
    expect(() => filterOf('label=x')).toThrow('--filter: "label" is not one of type, event, id, pod')
  })
})

// SPDX-License-Identifier: Apache-2.0
/** What a word of a person means: names before ids, containers before pods before images, the newest attempt. */
import { describe, expect, test } from 'vitest'
import { find } from '../../../../src/edge/node/find.ts'

const hex = (start: string) => start.padEnd(64, '0')

const pod = (id: string, namespace: string, name: string) => ({
  record: { id: hex(id), config: { metadata: { name, namespace } } },
})
const container = (id: string, of: string, name: string, attempt = 0) => ({
  record: { id: hex(id), pod: hex(of), config: { metadata: { name, attempt } } },
})

const engine = {
  pods: {
    list: () => [pod('a1', 'default', 'web'), pod('a2', 'other', 'web'), pod('a3', 'default', 'nginx')],
  },
  containers: {
    list: () => [
      container('c1', 'a1', 'nginx', 0),
      container('c2', 'a1', 'nginx', 1),
      container('c3', 'a2', 'proxy'),
      container('c4', 'a3', 'proxy'),
      container('ab', 'a3', 'beef'),
      container('beef', 'a3', 'side'),
    ],
  },
  images: {
    find: (name: string) => (name === 'nginx' || name === 'redis' ? { id: `image ${name}` } : undefined),
  },
} as unknown as Parameters<typeof find>[0]

const meant = (word: string, kind = ''): string => {
  const found = find(engine, word, kind)
  return found.kind === 'image' ? found.value.id : `${found.kind} ${found.value.record.id.replace(/0+$/, '')}`
}

describe('find', () => {
  test.each([
    ['a name of a container', 'nginx', '', 'container c2'],
    ['the same name as a pod', 'nginx', 'pod', 'pod a3'],
    ['the same name as an image', 'nginx', 'image', 'image nginx'],
    ['a container by its pod', 'web/nginx', '', 'container c2'],
    ['a container by namespace and pod', 'other/web/proxy', '', 'container c3'],
    ['an older attempt by its id', 'c1', '', 'container c1'],
    ['the beginning of an id', 'c', 'pod', undefined],
    ['a name before an id that begins so', 'beef', '', 'container ab'],
    ['a pod by its namespace', 'other/web', '', 'pod a2'],
    ['a pod by the beginning of its id', 'a3', '', 'pod a3'],
    ['an image', 'redis', '', 'image redis'],
  ])('%s', (_, word, kind, expected) => {
    if (expected === undefined) expect(() => meant(word, kind)).toThrow(`there is no ${kind} "${word}" here`)
    else expect(meant(word, kind)).toBe(expected)
  })

  test.each([
    [
      'proxy',
      '',
      '"proxy" means 2 containers: other/web/proxy (c300000000000), default/nginx/proxy (c400000000000)',
    ],
    ['web', '', '"web" means 2 pods: default/web (a100000000000), other/web (a200000000000)'],
    ['c', '', '"c" means 4 containers'],
    ['', '', 'name: is required'],
    ['x', 'volume', 'kind: "volume" is not one of container, pod, image'],
  ])('"%s" as "%s" is refused', (word, kind, message) => {
    expect(() => meant(word, kind)).toThrow(message)
  })
})

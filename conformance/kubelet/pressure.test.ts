// SPDX-License-Identifier: Apache-2.0
/**
 * What the kubelet decides by the runtime's figures: its summary, pods that take more disk than they may, and a
 * disk that is full, as it is told, for which unused images go first.
 */
import { expect } from 'vitest'
import { names } from '../../test/images/catalog.ts'
import { waitUntil } from '../../test/support/child.ts'
import { ensureImage } from '../../test/support/cri-requests.ts'
import { container, isReady, type Node, stay } from './node.ts'
import { kubeletSuite } from './suite.ts'

let n: Node

const kubelet = kubeletSuite({ pushed: [names.hello] }, async (node) => {
  n = node
})

interface Summary {
  readonly pods: readonly {
    readonly podRef: { readonly name: string }
    readonly containers?: readonly {
      readonly name: string
      readonly memory?: { readonly workingSetBytes?: number }
      readonly rootfs?: { readonly usedBytes?: number }
    }[]
  }[]
}

kubelet('the summary has memory and disk of every container', async () => {
  await n.put('counted', [container('a', `head -c 5000000 /dev/zero >/file; ${stay}`), container('b', stay)])
  await n.until('counted', isReady)
  let last: Summary = { pods: [] }
  const used = (name: string) =>
    last.pods.find((p) => p.podRef.name === 'counted-node1')?.containers?.find((c) => c.name === name)
  const complete = async () => {
    last = JSON.parse(await (await fetch(`${n.kubelet.plain}/stats/summary`)).text())
    return (used('a')?.rootfs?.usedBytes ?? 0) >= 5_000_000 && used('b')?.memory !== undefined
  }
  await waitUntil('the summary is complete', complete, { withinMs: 60_000, everyMs: 500 }).catch(
    (e: unknown) => {
      throw new Error(JSON.stringify(last), { cause: e })
    },
  )
  expect(used('b')?.rootfs?.usedBytes).toBeLessThan(1_000_000)
  for (const name of ['a', 'b']) expect(used(name)?.memory?.workingSetBytes).toBeGreaterThan(10_000)
})

const fill = `head -c 9000000 /dev/zero >/v/file; ${stay}`
const v = { volumeMounts: [{ name: 'v', mountPath: '/v' }] }

for (const [what, ctr, volume] of [
  ['an emptyDir', container('c', fill, v), { sizeLimit: '4Mi' }],
  [
    'the ephemeral storage of its container',
    container('c', fill.replace('/v/', '/'), { resources: { limits: { 'ephemeral-storage': '4Mi' } } }),
    {},
  ],
] as const)
  kubelet(`a pod that goes over the limit of ${what} is found out`, async () => {
    const name = `over-${what.length}`
    await n.put(name, [ctr], { volumes: [{ name: 'v', emptyDir: volume }] })
    await n.until(name, isReady)
    // A static pod counts as critical: the kubelet says that it would evict it, and lets it be.
    const told = new RegExp(`cannot evict a critical pod" pod="default/${name}-node1"`)
    const said = () => n.kubelet.log.some((line) => told.test(line))
    await waitUntil('the kubelet would evict it', said, { withinMs: 60_000, everyMs: 200 })
    expect(n.kubelet.log.filter((line) => line.includes('evict') && line.includes('counted-node1'))).toEqual(
      [],
    )
  })

kubelet('a full disk takes the images that nobody uses', async () => {
  const { client } = n.scenario
  await ensureImage(client, names.hello)
  await n.kubelet.restart({ evictionHard: { 'nodefs.available': '99%' }, imageMinimumGCAge: '1s' })
  const tags = async () =>
    ((await client.call('ListImages', {})).images ?? []).flatMap((i) => i.repoTags ?? [])
  const taken = async () => !(await tags()).includes(names.hello)
  await waitUntil('the unused image is gone', taken, { withinMs: 60_000, everyMs: 200 })
})

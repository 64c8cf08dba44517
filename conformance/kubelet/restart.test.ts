// SPDX-License-Identifier: Apache-2.0
/**
 * What a pod feels when kubelet, runtime or both are restarted under it: nothing. And what happened meanwhile is
 * seen afterwards: a container that ended is started again once, a pod whose manifest went is taken down.
 */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'vitest'
import { waitUntil } from '../../test/support/child.ts'
import { container, idOf, isReady, type Node, of, stay } from './node.ts'
import { kubeletSuite } from './suite.ts'

let n: Node
const pods = ['plain', 'shared', 'node', 'probed'] as const

const kubelet = kubeletSuite({}, async (node) => {
  n = node
  await n.put('plain', [container('a', stay), container('b', stay)], {
    initContainers: [container('side', stay, { restartPolicy: 'Always' })],
  })
  await n.put('shared', [container('a', stay), container('b', stay)], { shareProcessNamespace: true })
  await n.put('node', [container('a', stay)], { hostNetwork: true })
  const probe = (command: string) => ({
    exec: { command: ['sh', '-c', command] },
    periodSeconds: 1,
    failureThreshold: 5,
  })
  await n.put('probed', [
    container('a', `touch /tmp/ok; ${stay}`, {
      livenessProbe: probe('test -e /tmp/ok'),
      readinessProbe: probe('true'),
    }),
  ])
  for (const pod of pods) await n.until(pod, isReady)
})

/** What must not change: IDs, counts and start times of all containers, and the address. */
async function lives(): Promise<unknown> {
  const all = pods.map(async (pod) => {
    const s = await n.until(pod, isReady)
    const each = [...(s.containerStatuses ?? []), ...(s.initContainerStatuses ?? [])]
    return [
      pod,
      s.podIP,
      each.map((c) => [c.name, c.containerID, c.restartCount, c.state.running?.startedAt]),
    ]
  })
  return Promise.all(all)
}

const scenarios: Readonly<Record<string, () => Promise<unknown>>> = {
  'kubelet was restarted': () => n.kubelet.restart(),
  'runtime was killed with SIGKILL': async () => {
    await n.scenario.daemon.kill9()
    await sleep(1500)
    await n.scenario.daemon.restart()
  },
  'runtime was killed and the kubelet restarted': async () => {
    await n.scenario.daemon.kill9()
    await Promise.all([n.kubelet.restart(), sleep(1000).then(() => n.scenario.daemon.restart())])
  },
}

for (const [what, happen] of Object.entries(scenarios))
  kubelet(`pods live on as they were when the ${what}`, async () => {
    const before = await lives()
    await happen()
    await sleep(6000) // three rounds of the kubelet's: what it would restart it has begun to
    expect(await lives()).toEqual(before)
    expect(await n.sh('plain', 'b', 'hostname')).toBe('plain-node1\n')
  })

kubelet('a container that ends while the runtime is away is started again, once', async () => {
  await n.put('ends', [container('c', `echo started; ${stay}`), container('other', stay)])
  const before = await n.until('ends', isReady)
  const id = idOf(before, 'c')
  const { info } = await n.scenario.client.call('ContainerStatus', { containerId: id, verbose: true })
  await n.scenario.daemon.kill9()
  process.kill(Number(JSON.parse(info.info ?? '{}').pid), 'SIGKILL')
  await sleep(1000)
  await n.scenario.daemon.restart()
  const after = await n.until('ends', (s) => of(s, 'c').restartCount > 0 && isReady(s))
  expect(of(after, 'c').lastState.terminated).toMatchObject({ exitCode: 137, containerID: `gantry://${id}` })
  await sleep(4000)
  const later = await n.until('ends', isReady)
  expect([of(later, 'c').restartCount, of(later, 'other').restartCount]).toEqual([1, 0])
  expect(later.podIP).toBe(before.podIP)
})

kubelet('a pod whose manifest goes while kubelet and runtime are away is taken down', async () => {
  await n.put('goes', [container('c', stay)])
  await n.until('goes', isReady)
  await n.kubelet.stop()
  await n.scenario.daemon.kill9()
  await rm(join(n.kubelet.manifests, 'goes.json'))
  await n.scenario.daemon.restart()
  await n.kubelet.restart()
  const left = async () => {
    const { items } = await n.scenario.client.call('ListPodSandbox', { filter: { state: { state: 0 } } })
    return (items ?? []).map((i) => i.metadata?.name)
  }
  await waitUntil('it is gone', async () => !(await left()).includes('goes-node1'), { withinMs: 30_000 })
})

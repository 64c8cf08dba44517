// SPDX-License-Identifier: Apache-2.0
/**
 * The life of a container under a kubelet: probes of every kind and what follows from them, hooks after the start
 * and before the end, restarts and their back-off.
 */
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect } from 'vitest'
import { waitUntil } from '../../test/support/child.ts'
import { type ContainerStatus, container, isOver, isReady, type Node, of, stay } from './node.ts'
import { kubeletSuite } from './suite.ts'

let n: Node
/** A folder of the node that pods write to, so that what they did is seen after their end. */
let notes: string

const kubelet = kubeletSuite({}, async (node) => {
  n = node
  notes = join(n.scenario.workspace.root, 'notes')
  await mkdir(notes)
})

const noted = { volumeMounts: [{ name: 'notes', mountPath: '/notes' }] }
const volumes = () => [{ name: 'notes', hostPath: { path: notes, type: 'Directory' } }]
const every = { periodSeconds: 1, failureThreshold: 1 }
const exec = (command: string) => ({ exec: { command: ['sh', '-c', command] } })
const web = 'mkdir -p /w; echo fine >/w/health; killall httpd; httpd -p 8080 -h /w'

/** Makes the container break by a script in it, and waits until it was restarted, for the reason of its probe. */
async function restartedBy(pod: string, script: string): Promise<ContainerStatus> {
  await n.until(pod, isReady)
  await n.sh(pod, 'c', script)
  const again = await n.until(pod, (s) => of(s, 'c').restartCount === 1 && isReady(s))
  return of(again, 'c')
}

for (const [kind, probe, breaks] of [
  ['exec', exec('test -e /w/health'), 'rm /w/health'],
  ['http', { httpGet: { path: '/health', port: 8080 } }, 'rm /w/health'],
  ['tcp', { tcpSocket: { port: 8080 } }, 'killall httpd'],
] as const) {
  kubelet(`a liveness probe by ${kind} restarts a container that breaks`, async () => {
    await n.put(`live-${kind}`, [
      container('c', `${web}; ${stay}`, { livenessProbe: { ...probe, ...every } }),
    ])
    const c = await restartedBy(`live-${kind}`, breaks)
    expect(c.lastState.terminated).toMatchObject({ exitCode: 0, reason: 'Completed' })
  })

  kubelet(`a readiness probe by ${kind} is followed both ways, without a restart`, async () => {
    const name = `ready-${kind}`
    await n.put(name, [container('c', `${web}; ${stay}`, { readinessProbe: { ...probe, ...every } })])
    await n.until(name, isReady)
    await n.sh(name, 'c', breaks)
    await n.until(name, (s) => !isReady(s))
    await n.sh(name, 'c', web)
    expect(of(await n.until(name, isReady), 'c').restartCount).toBe(0)
  })
}

kubelet('an exec probe that does not answer in time has failed, and leaves nothing running', async () => {
  const livenessProbe = { ...exec('test -e /tmp/ok || exec sleep 7654'), ...every, timeoutSeconds: 1 }
  await n.put('late', [container('c', `touch /tmp/ok; ${stay}`, { livenessProbe })])
  await restartedBy('late', 'rm /tmp/ok')
  expect(await n.sh('late', 'c', 'ps -o args | grep "[s]leep 7654" || echo none')).toBe('none\n')
})

kubelet('a startup probe holds the others off until it succeeds', async () => {
  const startupProbe = { ...exec('test -e /tmp/up'), periodSeconds: 1, failureThreshold: 60 }
  const livenessProbe = { ...exec('test -e /tmp/up'), ...every }
  await n.put('slow', [container('c', `sleep 4; touch /tmp/up; ${stay}`, { startupProbe, livenessProbe })])
  const early = await n.until('slow', (s) => of(s, 'c').state.running !== undefined)
  expect([of(early, 'c').started, of(early, 'c').ready]).toEqual([false, false])
  const up = await n.until('slow', isReady)
  expect([of(up, 'c').started, of(up, 'c').restartCount]).toEqual([true, 0])
})

kubelet('a startup probe that never succeeds ends the container', async () => {
  const startupProbe = { ...exec('false'), periodSeconds: 1, failureThreshold: 2 }
  await n.put('never', [container('c', stay, { startupProbe })])
  expect(of(await n.until('never', (s) => of(s, 'c').restartCount > 0), 'c').ready).toBe(false)
})

kubelet('postStart runs in the container before it counts as running; one that fails ends it', async () => {
  const postStart = (command: string) => ({ lifecycle: { postStart: exec(command) } })
  await n.put('post', [container('c', stay, postStart('sleep 1; hostname >/tmp/hook'))])
  await n.until('post', isReady)
  expect(await n.sh('post', 'c', 'cat /tmp/hook')).toBe('post-node1\n')
  await n.put('post-fails', [container('c', stay, postStart('exit 9'))])
  await n.until('post-fails', (s) => of(s, 'c').restartCount > 0)
})

kubelet('preStop runs before TERM, TERM before KILL, all within the grace', async () => {
  const script = 'trap "echo term >>/notes/end" TERM; while :; do sleep 0.1; done'
  const lifecycle = { preStop: exec('sleep 1; echo hook >>/notes/end') }
  await n.put('end', [container('c', script, { ...noted, lifecycle })], {
    terminationGracePeriodSeconds: 4,
    volumes: volumes(),
  })
  await n.until('end', isReady)
  const began = performance.now()
  await n.remove('end')
  const seconds = (performance.now() - began) / 1000
  expect(await readFile(join(notes, 'end'), 'utf8')).toBe('hook\nterm\n')
  expect(seconds).toBeGreaterThan(3)
  expect(seconds).toBeLessThan(20)
})

kubelet('sidecars end after the container, in the opposite order of their start', async () => {
  const noting = (name: string) =>
    container(name, `trap "echo ${name} >>/notes/order; exit 0" TERM; while :; do sleep 0.1; done`, noted)
  const initContainers = ['s1', 's2'].map((name) => ({ ...noting(name), restartPolicy: 'Always' }))
  await n.put('order', [noting('main')], {
    initContainers,
    volumes: volumes(),
    terminationGracePeriodSeconds: 20,
  })
  await n.until('order', isReady)
  await n.remove('order')
  expect(await readFile(join(notes, 'order'), 'utf8')).toBe('main\ns2\ns1\n')
})

kubelet('a container that keeps failing goes into CrashLoopBackOff; its last log is kept', async () => {
  await n.put('crash', [container('c', 'echo run; sleep 0.2; exit 7'), container('well', stay)])
  const status = await n.until('crash', (s) => {
    const c = of(s, 'c')
    return c.restartCount >= 2 && c.state.waiting?.reason === 'CrashLoopBackOff'
  })
  expect(of(status, 'c').lastState.terminated).toMatchObject({ exitCode: 7, reason: 'Error' })
  expect(of(status, 'well').restartCount).toBe(0)
  expect(await n.log('crash', 'c', 'previous=true')).toBe('run\n')
  await waitUntil(
    'one dead container is kept',
    async () => {
      const { containers } = await n.scenario.client.call('ListContainers', {
        filter: {
          labelSelector: { 'io.kubernetes.pod.name': 'crash-node1', 'io.kubernetes.container.name': 'c' },
        },
      })
      return (containers ?? []).length <= 2
    },
    { withinMs: 15_000, everyMs: 200 },
  )
})

kubelet('restartPolicy OnFailure starts what failed again, and not what is done', async () => {
  const once = 'test -e /notes/once && exit 0; touch /notes/once; exit 1'
  await n.put('again', [container('fails', once, noted), container('done', 'exit 0')], {
    restartPolicy: 'OnFailure',
    volumes: volumes(),
  })
  const status = await n.until('again', isOver)
  expect(status.phase).toBe('Succeeded')
  expect([of(status, 'fails').restartCount, of(status, 'done').restartCount]).toEqual([1, 0])
})

kubelet('an edited manifest makes the pod anew, with what was edited', async () => {
  await n.put('edited', [container('c', stay, { env: [{ name: 'V', value: '1' }] })])
  const first = await n.until('edited', isReady)
  await n.put('edited', [container('c', stay, { env: [{ name: 'V', value: '2' }] })])
  const second = await n.until(
    'edited',
    (s) => isReady(s) && of(s, 'c').containerID !== of(first, 'c').containerID,
  )
  expect(of(second, 'c').restartCount).toBe(0)
  expect(await n.sh('edited', 'c', 'echo $V')).toBe('2\n')
})

for (const [what, reason] of [
  [
    'a running container is resized in place',
    'a kubelet without an API server refuses to resize a static pod',
  ],
  [
    'node shutdown ends the pods in the order of their priority',
    'needs logind on the system bus to announce it',
  ],
] as const)
  kubelet(what, async (skip) => skip(reason))

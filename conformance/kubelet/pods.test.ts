// SPDX-License-Identifier: Apache-2.0
/**
 * Pods as a kubelet makes them: containers in order and together, how it is told that one failed, and their limits.
 */
import { readFile } from 'node:fs/promises'
import { describe, expect } from 'vitest'
import { names } from '../../test/images/catalog.ts'
import { container, idOf, isOver, isReady, type Node, of, stay } from './node.ts'
import { kubeletSuite } from './suite.ts'

let n: Node

const kubelet = kubeletSuite({ pushed: [names.hello] }, async (node) => {
  n = node
})

describe('containers of a pod', () => {
  kubelet('run together and share the network, the host name and nothing else', async () => {
    const server = container('server', 'mkdir /w; hostname >/w/name; exec httpd -f -p 8080 -h /w')
    const client = container('client', `until wget -qO- localhost:8080/name; do sleep 0.2; done; ${stay}`)
    await n.put('many', [server, client, container('third', `ls /w; hostname; ${stay}`)])
    const status = await n.until('many', isReady)
    expect(status.podIP).toMatch(/^\d+\.\d+\.\d+\.\d+$/)
    expect(status.containerStatuses?.map((c) => [c.restartCount, c.image])).toEqual(
      Array(3).fill([0, names.busybox]),
    )
    expect(await n.logged('many', 'client', 'node1')).toBe('many-node1\n')
    expect(await n.logged('many', 'third', 'many-node1')).toContain('No such file')
    expect(await n.sh('many', 'client', 'ps -o args | grep -c [h]ttpd || true')).toBe('0\n')
  })

  kubelet('run after the init containers, which run one by one', async () => {
    const mounts = { volumeMounts: [{ name: 'v', mountPath: '/v' }] }
    const step = (k: string) => container(k, `cat /v/steps; sleep 0.3; echo ${k} >>/v/steps`, mounts)
    await n.put('inits', [container('main', `cat /v/steps; ${stay}`, mounts)], {
      initContainers: [step('a'), step('b'), step('c')],
      volumes: [{ name: 'v', emptyDir: {} }],
    })
    await n.until('inits', isReady)
    expect(await n.logged('inits', 'main', 'c')).toBe('a\nb\nc\n')
  })

  kubelet('have a native sidecar beside them, which ends after them', async () => {
    const mounts = { volumeMounts: [{ name: 'v', mountPath: '/v' }] }
    const sidecar = container(
      'side',
      'touch /v/up; trap "echo side ends; exit 0" TERM; while :; do sleep 0.1; done',
      {
        ...mounts,
        restartPolicy: 'Always',
        startupProbe: { exec: { command: ['test', '-e', '/v/up'] }, periodSeconds: 1 },
      },
    )
    const init = container('init', 'test -e /v/up && echo the sidecar is up', mounts)
    await n.put('job', [container('main', 'echo work; sleep 1; exit 3')], {
      initContainers: [sidecar, init],
      volumes: [{ name: 'v', emptyDir: {} }],
      restartPolicy: 'Never',
    })
    const status = await n.until('job', isOver)
    expect(status.phase).toBe('Failed')
    expect(of(status, 'init').state.terminated).toMatchObject({ exitCode: 0, reason: 'Completed' })
    expect(of(status, 'main').state.terminated).toMatchObject({ exitCode: 3, reason: 'Error' })
    expect(of(status, 'side').state.terminated).toMatchObject({ exitCode: 0, reason: 'Completed' })
    expect(await n.log('job', 'side')).toBe('side ends\n')
  })
})

describe('what went wrong is told', () => {
  kubelet('by the termination message: the file, or the end of the log', async () => {
    const message = container('file', 'echo -n my last words >/dev/termination-log; exit 4')
    const fallback = container('log', 'echo first; echo last line; exit 5', {
      terminationMessagePolicy: 'FallbackToLogsOnError',
    })
    const elsewhere = container('else', 'echo -n elsewhere >/tmp/why; exit 0', {
      terminationMessagePath: '/tmp/why',
    })
    await n.put('words', [message, fallback, elsewhere], { restartPolicy: 'Never' })
    const status = await n.until('words', isOver)
    const ended = (name: string) => of(status, name).state.terminated
    expect(ended('file')).toMatchObject({ exitCode: 4, reason: 'Error', message: 'my last words' })
    expect(ended('log')).toMatchObject({ exitCode: 5, message: 'first\nlast line\n' })
    expect(ended('else')).toMatchObject({ exitCode: 0, reason: 'Completed', message: 'elsewhere' })
  })

  kubelet('by OOMKilled, when the memory limit is reached', async () => {
    const script = 'x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done'
    const resources = { limits: { memory: '24Mi' } }
    await n.put('oom', [container('c', script, { resources })], { restartPolicy: 'Never' })
    const status = await n.until('oom', isOver)
    expect(of(status, 'c').state.terminated).toMatchObject({ exitCode: 137, reason: 'OOMKilled' })
  })

  kubelet('by StartError and 128, when the program is not there', async () => {
    await n.put('absent', [{ ...container('c', ''), command: ['/no/such/program'] }], {
      restartPolicy: 'Never',
    })
    const status = await n.until('absent', isOver)
    expect(of(status, 'c').state.terminated).toMatchObject({ exitCode: 128, reason: 'StartError' })
    expect(of(status, 'c').state.terminated?.message).toContain('/no/such/program')
  })

  kubelet('by ErrImagePull and ErrImageNeverPull, when the image is not to be had', async () => {
    const image = names.busybox.replace(/:.*/, ':absent')
    await n.put('pull', [
      container('pull', stay, { image }),
      container('never', stay, { image: names.hello, imagePullPolicy: 'Never' }),
    ])
    const waits = (s: Parameters<typeof of>[0], name: string) => of(s, name).state.waiting?.reason ?? ''
    await n.until('pull', (s) => /^(ErrImagePull|ImagePullBackOff)$/.test(waits(s, 'pull')))
    await n.until('pull', (s) => waits(s, 'never') === 'ErrImageNeverPull')
  })

  kubelet('and an image that is there is pulled and run', async () => {
    const hello = { name: 'c', image: names.hello, imagePullPolicy: 'Always' }
    await n.put('hello', [hello], { restartPolicy: 'Never' })
    expect((await n.until('hello', isOver)).phase).toBe('Succeeded')
  })
})

describe('limits', () => {
  kubelet('reach the cgroup of the container, below that of the pod', async () => {
    const resources = { requests: { cpu: '100m', memory: '16Mi' }, limits: { cpu: '250m', memory: '64Mi' } }
    await n.put('limits', [container('c', stay, { resources })])
    const status = await n.until('limits', isReady)
    const { info } = await n.scenario.client.call('ContainerStatus', {
      containerId: idOf(status, 'c'),
      verbose: true,
    })
    const pid = Number(JSON.parse(info.info ?? '{}').pid)
    const groups = (await readFile(`/proc/${pid}/cgroup`, 'utf8')).trim().split('\n')
    for (const group of groups.filter((g) => /:memory:|:cpu|^0::.*pod/.test(g)))
      expect(group).toMatch(/\/kubepods\/burstable\/pod[0-9a-f]+\//)
    const { status: told } = await n.scenario.client.call('ContainerStatus', {
      containerId: idOf(status, 'c'),
    })
    expect(told?.resources?.linux).toMatchObject({
      cpuQuota: 25_000n,
      cpuPeriod: 100_000n,
      memoryLimitInBytes: 67_108_864n,
    })
  })
})

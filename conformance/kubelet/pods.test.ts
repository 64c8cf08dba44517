// SPDX-License-Identifier: Apache-2.0
/**
 * Pods as a kubelet makes them: containers in order and together, volumes, what a container is told about itself,
 * who it runs as, what it shares with the node, and how it is told that something failed.
 */
import { mkdir, readFile, readlink, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { names } from '../../test/images/catalog.ts'
import { freePort, waitUntil } from '../../test/support/child.ts'
import {
  buildMs,
  container,
  idOf,
  isOver,
  isReady,
  type Node,
  noKubelet,
  of,
  startNode,
  stay,
} from './node.ts'

let n: Node

beforeAll(async () => {
  if (noKubelet === undefined) n = await startNode({ pushed: [names.hello] })
}, buildMs)
afterAll(() => n?.end(), 120_000)

const kubelet = (name: string, run: (context: { skip(why: string): never }) => Promise<void>) =>
  it(name, async ({ skip }) => {
    if (noKubelet !== undefined) skip(noKubelet)
    await run({ skip })
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

describe('volumes', () => {
  kubelet('emptyDir on disk and in memory is one for all containers, and of the size asked', async () => {
    const mounts = ['disk', 'mem'].map((name) => ({ name, mountPath: `/${name}` }))
    const sub = { name: 'disk', mountPath: '/only', subPath: 'in/it' }
    const writer = 'echo d >/disk/f; echo m >/mem/f; mkdir -p /disk/in/it; echo s >/disk/in/it/f'
    await n.put(
      'empty',
      [
        container('w', `${writer}; ${stay}`, { volumeMounts: mounts }),
        container('r', `cat /only/g; ${stay}`, { volumeMounts: [...mounts, sub] }),
      ],
      {
        volumes: [
          { name: 'disk', emptyDir: {} },
          { name: 'mem', emptyDir: { medium: 'Memory', sizeLimit: '8Mi' } },
        ],
      },
    )
    await n.until('empty', isReady)
    await n.sh('empty', 'w', 'echo g >/disk/in/it/g')
    expect(await n.sh('empty', 'r', 'cat /disk/f /mem/f /only/g')).toBe('d\nm\ng\n')
    expect(await n.sh('empty', 'r', 'df -k /mem | tail -n 1')).toMatch(/^tmpfs +8192 /)
  })

  kubelet('hostPath is the folder or file of the node; read-only when asked', async () => {
    const dir = join(n.scenario.workspace.root, 'host-path')
    await mkdir(dir)
    await writeFile(join(dir, 'file'), 'of the node\n')
    const script = `cat /dir/file /file; echo from the pod >/dir/answer; echo x >/ro/x || echo refused; ${stay}`
    const volumeMounts = [
      { name: 'dir', mountPath: '/dir' },
      { name: 'dir', mountPath: '/ro', readOnly: true },
      { name: 'file', mountPath: '/file' },
    ]
    await n.put('host-path', [container('c', script, { volumeMounts })], {
      volumes: [
        { name: 'dir', hostPath: { path: dir, type: 'Directory' } },
        { name: 'file', hostPath: { path: join(dir, 'file'), type: 'File' } },
      ],
    })
    expect(await n.logged('host-path', 'c', 'refused')).toContain('of the node\nof the node\n')
    expect(await readFile(join(dir, 'answer'), 'utf8')).toBe('from the pod\n')
  })

  kubelet('downward API files and variables tell a container of itself', async () => {
    const file = (path: string, fieldPath: string) => ({ path, fieldRef: { fieldPath } })
    const variable = (name: string, fieldPath: string) => ({ name, valueFrom: { fieldRef: { fieldPath } } })
    const limits = { resourceFieldRef: { containerName: 'c', resource: 'limits.memory' } }
    const env = [
      variable('IP', 'status.podIP'),
      variable('NAME', 'metadata.name'),
      { name: 'MEM', valueFrom: limits },
    ]
    const resources = { limits: { memory: '32Mi', cpu: '100m' } }
    const volumeMounts = [{ name: 'info', mountPath: '/info' }]
    await n.put(
      'downward',
      [
        container('c', `echo $IP $NAME $MEM; cat /info/labels; echo; cat /info/uid; echo; ${stay}`, {
          env,
          resources,
          volumeMounts,
        }),
      ],
      {
        volumes: [
          {
            name: 'info',
            downwardAPI: { items: [file('labels', 'metadata.labels'), file('uid', 'metadata.uid')] },
          },
        ],
      },
      { labels: { flavour: 'sour' } },
    )
    const { podIP } = await n.until('downward', isReady)
    const log = await n.logged('downward', 'c', /[0-9a-f]{32}/)
    expect(log).toContain(`${podIP} downward-node1 ${32 << 20}\n`)
    expect(log).toContain('flavour="sour"\n')
  })
})

describe('security contexts', () => {
  kubelet('say who a container is, what it may and what it sees', async () => {
    const script = 'id -u; id -g; id -G; touch /x || echo read-only; touch /v/x && stat -c %g /v/x'
    const securityContext = {
      runAsUser: 1234,
      runAsGroup: 2345,
      readOnlyRootFilesystem: true,
      allowPrivilegeEscalation: false,
      capabilities: { drop: ['ALL'] },
      seccompProfile: { type: 'RuntimeDefault' },
    }
    const more = { securityContext, volumeMounts: [{ name: 'v', mountPath: '/v' }] }
    const status = 'grep -E "^(CapBnd|CapEff|NoNewPrivs|Seccomp):" /proc/self/status'
    await n.put('who', [container('c', `${script}; ${status}; ${stay}`, more)], {
      securityContext: { fsGroup: 3456, supplementalGroups: [4567] },
      volumes: [{ name: 'v', emptyDir: {} }],
    })
    const log = await n.logged('who', 'c', /Seccomp:/)
    const groups = log.split('\n')[2]?.split(' ').sort()
    expect(log).toMatch(/^1234\n2345\n/)
    expect(groups).toEqual(['2345', '3456', '4567'])
    expect(log).toContain('read-only\n3456\n')
    expect(log).toMatch(/CapEff:\t0{16}\nCapBnd:\t0{16}\nNoNewPrivs:\t1\nSeccomp:\t2\n/)
  })

  kubelet('privileged has every capability and the devices of the node', async () => {
    const script = `grep CapEff /proc/self/status; ls /dev/kmsg; mount -t tmpfs none /mnt && echo mounted; ${stay}`
    await n.put('strong', [
      container('c', `mkdir /mnt; ${script}`, { securityContext: { privileged: true } }),
    ])
    const log = await n.logged('strong', 'c', 'mounted')
    const own = await readFile('/proc/self/status', 'utf8')
    expect(log).toContain(/CapBnd:\t(\w+)/.exec(own)?.[1])
    expect(log).toContain('/dev/kmsg\n')
  })

  kubelet('runAsNonRoot refuses an image that would run as root', async () => {
    await n.put('root', [container('c', stay, { securityContext: { runAsNonRoot: true } })])
    const status = await n.until(
      'root',
      (s) => of(s, 'c').state.waiting?.reason === 'CreateContainerConfigError',
    )
    expect(of(status, 'c').state.waiting?.message).toContain('image will run as root')
  })
})

describe('what a pod shares', () => {
  kubelet('shareProcessNamespace shows the processes of the others, and ends with the pod', async () => {
    const containers = [container('a', `exec sleep 4321`), container('b', stay)]
    await n.put('shared', containers, { shareProcessNamespace: true })
    await n.until('shared', isReady)
    expect(await n.sh('shared', 'b', 'ps -o args')).toContain('sleep 4321')
    expect(await n.sh('shared', 'b', 'test $$ -ne 1; echo $?')).toBe('0\n')
    await n.remove('shared')
  })

  kubelet('hostNetwork is the node’s network and name', async () => {
    await n.put('host', [container('c', `hostname; readlink /proc/self/ns/net; ${stay}`)], {
      hostNetwork: true,
    })
    const log = await n.logged('host', 'c', 'net:')
    expect(log).toContain(`${hostname()}\n`)
    expect(log).toContain(await readlink('/proc/self/ns/net'))
  })

  kubelet('hostPID shows the processes of the node', async () => {
    await n.put('pids', [container('c', `test -d /proc/${process.pid} && echo seen; ${stay}`)], {
      hostPID: true,
    })
    await n.logged('pids', 'c', 'seen')
  })

  kubelet('hostPort leads to the container', async () => {
    const port = await freePort()
    const ports = [{ containerPort: 8080, hostPort: port, protocol: 'TCP' }]
    await n.put('port', [
      container('c', 'mkdir /w; echo reached >/w/x; exec httpd -f -p 8080 -h /w', { ports }),
    ])
    await n.until('port', isReady)
    await waitUntil(
      'the port of the node answers',
      async () =>
        (await fetch(`http://127.0.0.1:${port}/x`).then(
          (r) => r.text(),
          () => '',
        )) === 'reached\n',
      { withinMs: 10_000, everyMs: 100 },
    )
  })

  kubelet('dnsPolicy None gives the name servers of the pod, hostAliases its hosts', async () => {
    const dnsConfig = {
      nameservers: ['192.0.2.53'],
      searches: ['a.test'],
      options: [{ name: 'ndots', value: '3' }],
    }
    const hostAliases = [{ ip: '192.0.2.7', hostnames: ['alias.test'] }]
    const spec = { dnsPolicy: 'None', dnsConfig, hostAliases, hostname: 'named', subdomain: 'sub' }
    await n.put('dns', [container('c', `cat /etc/resolv.conf /etc/hosts; hostname; ${stay}`)], spec)
    const log = await n.logged('dns', 'c', /\nnamed\n/)
    expect(log).toMatch(/search a\.test\nnameserver 192\.0\.2\.53\noptions ndots:3\n/)
    expect(log).toMatch(/192\.0\.2\.7\s+alias\.test/)
  })

  kubelet('hostUsers false gives a user namespace', async ({ skip }) => {
    const { runtimeHandlers } = await n.scenario.client.call('Status', {})
    const features = runtimeHandlers?.find((h) => h.name === '')?.features
    if (features?.userNamespaces !== true)
      skip('the OCI runtime of this machine has no user namespaces (idmapped mounts: runc 1.2 or newer)')
    await n.put('users', [container('c', `cat /proc/self/uid_map; ${stay}`)], { hostUsers: false })
    expect(await n.logged('users', 'c', '65536')).toMatch(/^ +0 +[1-9]\d* +65536$/m)
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

// SPDX-License-Identifier: Apache-2.0
/**
 * What a container of a kubelet has and sees: volumes of every kind that needs no API server, who it runs as and
 * what it may, what it shares with the node and with its neighbours.
 */
import { mkdir, readFile, readlink, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { describe, expect } from 'vitest'
import { freePort, waitUntil } from '../../test/support/child.ts'
import { container, isReady, type Node, of, stay } from './node.ts'
import { kubeletSuite } from './suite.ts'

let n: Node

const kubelet = kubeletSuite({}, async (node) => {
  n = node
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

  kubelet('hostUsers false gives a user namespace', async (skip) => {
    const { runtimeHandlers } = await n.scenario.client.call('Status', {})
    const features = runtimeHandlers?.find((h) => h.name === '')?.features
    if (features?.userNamespaces !== true)
      skip('the OCI runtime of this machine has no user namespaces (idmapped mounts: runc 1.2 or newer)')
    await n.put('users', [container('c', `cat /proc/self/uid_map; ${stay}`)], { hostUsers: false })
    expect(await n.logged('users', 'c', '65536')).toMatch(/^ +0 +[1-9]\d* +65536$/m)
  })
})

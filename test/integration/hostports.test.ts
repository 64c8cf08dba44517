// SPDX-License-Identifier: Apache-2.0
/**
 * Ports of the node that the runtime maps by itself, with real traffic, by nft and by both kinds of iptables. A
 * network namespace plays the node and another one a client beyond it, so that no rule, interface or sysctl of
 * this machine is touched. Needs root, the plugins bridge and host-local, nft, iptables and conntrack.
 */
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { silent } from '../../src/base/log.ts'
import { createNetwork, type Network } from '../../src/host/cni/network.ts'
import { type Run, run } from '../../src/host/exec.ts'
import { hostports } from '../../src/host/hostports/hostports.ts'
import { type PodHostPorts, planHostPorts } from '../../src/model/host-ports.ts'
import type { PortMapping } from '../../src/model/pod.ts'
import { type OwnedChild, startChild, waitUntil } from '../support/child.ts'
import { addon, openScope } from '../support/cni-fp.ts'
import { expectNoLeaks, type Snapshot, snapshot } from '../support/leak-check.ts'

const exec = promisify(execFile)
const native = addon()
const PLUGINS = '/usr/lib/cni'
const iptables = (kind: string) =>
  ['iptables', 'ip6tables'].flatMap((p) =>
    ['save', 'restore'].map((what) => [`${p}-${what}`, `${p}-${kind}-${what}`] as const),
  )
/** Programs of the node: by the name that is looked for, the one that is there. */
const kinds: Readonly<Record<string, readonly (readonly [string, string])[]>> = {
  nft: [['nft', 'nft']],
  'iptables-nft': iptables('nft'),
  'iptables-legacy': iptables('legacy'),
}
const programs = ['conntrack', ...Object.values(kinds).flatMap((k) => k.map(([, program]) => program))]
const lacking = [
  process.getuid?.() === 0 ? '' : 'it needs root',
  ...programs.map((p) => (existsSync(`/usr/sbin/${p}`) ? '' : `there is no /usr/sbin/${p}`)),
  ...['bridge', 'host-local'].map((p) => (existsSync(join(PLUGINS, p)) ? '' : `there is no ${PLUGINS}/${p}`)),
].filter((why) => why !== '')

const NODE = '192.0.2.1'
const AWAY = '192.0.2.2'
const NODE6 = 'fd00:2::1'
const GATEWAY = '10.217.6.1'
const SUBNETS = [[{ subnet: '10.217.6.0/24' }], [{ subnet: 'fd00:6::/64' }]]
const ROUTES = [{ dst: '0.0.0.0/0' }, { dst: '::/0' }]

/** Answers each connection or datagram with its name and where it came from. */
const SERVER = `
const [name, protocol, port, address = '::'] = process.argv.slice(1)
const text = (from) => name + ' ' + from.replace('::ffff:', '')
if (protocol === 'tcp') require('net').createServer((s) => s.end(text(s.remoteAddress))).listen(port, address, () => console.log('up'))
else {
  const s = require('dgram').createSocket('udp6')
  s.on('message', (_, r) => s.send(text(r.address), r.port, r.address)).bind(Number(port), address, () => console.log('up'))
}`
/** Prints the answer, or 'refused' or 'silent'. */
const CLIENT = `
const [protocol, host, port, from = 0] = process.argv.slice(1)
const end = (text) => { console.log(text); process.exit() }
setTimeout(() => end('silent'), 1500)
if (protocol === 'tcp') require('net').connect(port, host).on('error', () => end('refused')).on('data', (d) => end(String(d)))
else {
  const s = require('dgram').createSocket(host.includes(':') ? 'udp6' : 'udp4')
  s.on('message', (d) => end(String(d))).on('error', () => end('refused')).bind(Number(from), () => s.send('?', Number(port), host))
}`

const mapping = (hostPort: number, more: Partial<PortMapping> = {}): PortMapping => ({
  protocol: 'tcp',
  containerPort: 7000,
  hostPort,
  hostIp: '',
  ...more,
})

describe.skipIf(lacking.length > 0).each(Object.entries(kinds))(`%s ${lacking.join(', ')}`, (kind, tools) => {
  let root = ''
  let node = ''
  let away = ''
  let network: Network
  let before: Snapshot
  const servers: OwnedChild[] = []

  const within = (netns: string) => [`--net=${netns}`]
  const inside = async (netns: string, ...command: string[]) =>
    (await exec('/usr/bin/nsenter', [...within(netns), ...command])).stdout
  const runOnNode: Run = (scope, deps, options) =>
    run(scope, deps, {
      ...options,
      file: '/usr/bin/nsenter',
      argv: ['nsenter', ...within(node), options.file, ...options.argv.slice(1)],
    })
  const build = (dir = join(root, 'bin')) =>
    hostports({
      native,
      owner: 'gttest',
      run: runOnNode,
      programDirs: [dir],
      writeSysctl: async (path, value) => {
        if (existsSync(path)) throw new Error(`${path} is one of this machine`)
        await inside(node, 'sh', '-c', `echo ${value} > ${path}`)
      },
    })
  const serve = async (netns: string, ...args: string[]) => {
    const server = await startChild('nsenter', [...within(netns), process.execPath, '-e', SERVER, ...args])
    servers.push(server)
    await waitUntil('it listens', async () => server.lines.includes('up'), { withinMs: 10_000 })
  }
  const ask = async (netns: string, ...args: (string | number)[]) =>
    (await inside(netns, process.execPath, '-e', CLIENT, ...args.map(String))).trim()
  /** All rules of ours, and whether the bridge takes 127.0.0.1. */
  const traces = async () => {
    const programs = kind === 'nft' ? [['nft', 'list', 'ruleset']] : tools.filter(([p]) => p.endsWith('save'))
    const lines = await Promise.all(
      programs.map(([name = '', ...args]) =>
        inside(node, kind === 'nft' ? name : join(root, 'bin', name), ...(kind === 'nft' ? args : [])),
      ),
    )
    const opened = await inside(node, 'cat', '/proc/sys/net/ipv4/conf/gtbr0/route_localnet')
    const ours = lines
      .join('\n')
      .split('\n')
      .filter((l) => /gttest|7000/.test(l))
    return [...ours, ...(opened.trim() === '0' ? [] : ['route_localnet'])]
  }

  let count = 0
  const pod = async (...wanted: PortMapping[]) => {
    const podId = `gtpod${++count}`
    const stateDir = join(root, podId)
    await mkdir(stateDir)
    const netns = join(root, `${podId}.ns`)
    await native.createNamespaces({ net: netns, loopback: true })
    const request = { podId, netns, podName: podId, podNamespace: 'gt', podUid: podId, annotations: {} }
    const attached = await network.attach(openScope(), { ...request, portMappings: wanted }, stateDir)
    expect(attached.unserved).toEqual(wanted.length > 0 ? ['portMappings'] : [])
    const ports: PodHostPorts = planHostPorts(podId, wanted, attached)
    return { podId, netns, ports, ip: attached.ips[0] ?? '' }
  }

  beforeAll(async () => {
    before = await snapshot({ roots: [join(tmpdir(), 'gt-cni-')], linkPrefixes: ['gtbr', 'gtup'] })
    root = await mkdtemp(join(tmpdir(), 'gt-cni-'))
    node = join(root, 'node.ns')
    away = join(root, 'away.ns')
    await mkdir(join(root, 'bin'))
    await mkdir(join(root, 'empty'))
    await mkdir(join(root, 'conf'))
    for (const [name, program] of [...tools, ['conntrack', 'conntrack'] as const])
      await symlink(`/usr/sbin/${program}`, join(root, 'bin', name))
    for (const net of [node, away]) await native.createNamespaces({ net, loopback: true })
    // Addresses are of use at once.
    await inside(node, 'sh', '-c', 'for f in /proc/sys/net/ipv6/conf/*/accept_dad; do echo 0 > $f; done')
    await inside(node, 'ip', 'link', 'add', 'gtup0', 'type', 'veth', 'peer', 'name', 'gtup1')
    await inside(node, 'ip', 'link', 'set', 'gtup1', 'netns', away)
    for (const [net, link, addresses] of [
      [node, 'gtup0', [`${NODE}/24`, `${NODE6}/64`]],
      [away, 'gtup1', [`${AWAY}/24`, 'fd00:2::2/64']],
    ] as const) {
      await inside(net, 'ip', 'link', 'set', link, 'up')
      for (const address of addresses)
        await inside(
          net,
          'ip',
          'addr',
          'add',
          address,
          'dev',
          link,
          ...(address.includes(':') ? ['nodad'] : []),
        )
    }
    // The harder case: what stays within the bridge does not pass the rules of the node.
    const calls = 'for f in /proc/sys/net/bridge/bridge-nf-call-ip*tables; do echo 0 > $f || true; done'
    await inside(node, 'sh', '-c', calls)
    const ipam = { type: 'host-local', dataDir: join(root, 'leases'), ranges: SUBNETS, routes: ROUTES }
    const bridge = { type: 'bridge', bridge: 'gtbr0', isGateway: true, ipam }
    const list = { cniVersion: '1.0.0', name: 'gtnet', plugins: [bridge] }
    await writeFile(join(root, 'conf', 'a.conflist'), JSON.stringify(list))
    network = createNetwork(
      { native, log: silent, run: runOnNode },
      { confDir: join(root, 'conf'), binDirs: [PLUGINS] },
    )
  })
  afterEach(async () => {
    for (const server of servers.splice(0)) await server.end()
  })
  afterAll(async () => {
    for (const f of await readdir(root)) if (f.endsWith('.ns')) await native.unpinNamespace(join(root, f))
    await rm(root, { recursive: true, force: true })
    await expectNoLeaks(before)
  })

  test('a port is reached from the node, by 127.0.0.1 too, from beyond, from other pods and from the pod itself', async () => {
    const ports = build()
    const p = await pod(mapping(18080), mapping(18080, { protocol: 'udp' }))
    const other = await pod()
    await ports.add(openScope(), p.ports)
    for (const protocol of ['tcp', 'udp']) {
      await serve(p.netns, 'one', protocol, '7000')
      expect(await ask(node, protocol, '127.0.0.1', 18080)).toBe(`one ${GATEWAY}`)
      expect(await ask(node, protocol, NODE, 18080)).toMatch(/^one /)
      // Who is beyond the node is seen as they are.
      expect(await ask(away, protocol, NODE, 18080)).toBe(`one ${AWAY}`)
      expect(await ask(away, protocol, NODE6, 18080)).toBe('one fd00:2::2')
      expect(await ask(other.netns, protocol, NODE, 18080)).toBe(`one ${GATEWAY}`)
      expect(await ask(p.netns, protocol, GATEWAY, 18080)).toBe(`one ${GATEWAY}`)
      expect(await ask(other.netns, protocol, NODE6, 18080)).toBe('one fd00:6::1')
      expect(await ask(p.netns, protocol, NODE6, 18080)).toBe('one fd00:6::1')
    }
    expect(await ask(node, 'tcp', '::1', 18080)).toBe('refused')
    await ports.remove(openScope(), p.podId)
    expect(await ask(node, 'tcp', '127.0.0.1', 18080)).toBe('refused')
    expect(await ask(away, 'tcp', NODE, 18080)).toBe('refused')
    expect(await traces()).toEqual([])
  })

  test('a port of one address is at that address only, and goes before the one of all', async () => {
    const ports = build()
    const single = mapping(18081, { hostIp: '127.0.0.1', containerPort: 7001 })
    const p = await pod(mapping(18081), single, mapping(18082, { hostIp: NODE }))
    await ports.add(openScope(), p.ports)
    await serve(p.netns, 'all', 'tcp', '7000')
    await serve(p.netns, 'single', 'tcp', '7001')
    expect(await ask(node, 'tcp', '127.0.0.1', 18081)).toMatch(/^single /)
    expect(await ask(node, 'tcp', NODE, 18081)).toMatch(/^all /)
    expect(await ask(node, 'tcp', NODE, 18082)).toMatch(/^all /)
    expect(await ask(node, 'tcp', '127.0.0.1', 18082)).toBe('refused')
    expect(await ask(node, 'tcp', NODE6, 18082)).toBe('refused')
    await ports.remove(openScope(), p.podId)
    expect(await traces()).toEqual([])
  })

  test('what is opened for 127.0.0.1 lets no pod in there', async () => {
    const ports = build()
    const p = await pod(mapping(18083))
    await ports.add(openScope(), p.ports)
    await serve(node, 'secret', 'tcp', '7500', '127.0.0.1')
    expect(await ask(node, 'tcp', '127.0.0.1', 7500)).toMatch(/^secret /)
    await inside(p.netns, 'sh', '-c', `echo 1 > /proc/sys/net/ipv4/conf/eth0/route_localnet`)
    await inside(p.netns, 'ip', 'addr', 'del', '127.0.0.1/8', 'dev', 'lo')
    await inside(p.netns, 'ip', 'route', 'add', '127.0.0.0/8', 'via', GATEWAY, 'dev', 'eth0')
    expect(await ask(p.netns, 'tcp', '127.0.0.1', 7500)).toBe('silent')
    // It is the rules that keep it out.
    const table = ['nft', 'flush', 'chain', 'inet', 'gantry_gttest', 'guard']
    await inside(node, ...(kind === 'nft' ? table : [kind, '-t', 'raw', '-F']))
    expect(await ask(p.netns, 'tcp', '127.0.0.1', 7500)).toMatch(/^secret /)
    await ports.remove(openScope(), p.podId)
  })

  test('another daemon takes over: what lives is mapped again, what has gone is not any more', async () => {
    const before = build()
    const [stays, goes] = [await pod(mapping(18084)), await pod(mapping(18085))]
    await before.add(openScope(), stays.ports)
    await before.add(openScope(), goes.ports)
    await serve(stays.netns, 'stays', 'tcp', '7000')
    await serve(goes.netns, 'goes', 'tcp', '7000')
    expect(await ask(node, 'tcp', NODE, 18085)).toMatch(/^goes /)
    const after = build()
    after.adopt([stays.ports])
    await after.apply(openScope())
    expect(await ask(node, 'tcp', '127.0.0.1', 18084)).toMatch(/^stays /)
    expect(await ask(node, 'tcp', NODE, 18085)).toBe('refused')
    const flush = kind === 'nft' ? ['nft', 'flush', 'ruleset'] : [kind, '-t', 'nat', '-F']
    await inside(node, ...flush)
    expect(await ask(node, 'tcp', NODE, 18084)).toBe('refused')
    const third = build()
    third.adopt([stays.ports])
    await third.apply(openScope())
    expect(await ask(node, 'tcp', NODE, 18084)).toMatch(/^stays /)
    await third.remove(openScope(), stays.podId)
    expect(await traces()).toEqual([])
  })

  test('a client of UDP that goes on sending comes to the pod that has the port now', async () => {
    const ports = build()
    const udp = mapping(18086, { protocol: 'udp' })
    const [first, second] = [await pod(udp), await pod(udp)]
    await serve(first.netns, 'first', 'udp', '7000')
    await serve(second.netns, 'second', 'udp', '7000')
    // Before there is a port, too: this flow is one of the node itself.
    expect(await ask(away, 'udp', NODE, 18086, 9999)).toBe('silent')
    await ports.add(openScope(), first.ports)
    expect(await ask(away, 'udp', NODE, 18086, 9999)).toMatch(/^first /)
    await ports.remove(openScope(), first.podId)
    await ports.add(openScope(), second.ports)
    expect(await ask(away, 'udp', NODE, 18086, 9999)).toMatch(/^second /)
    await ports.remove(openScope(), second.podId)
  })

  test('without any of the programs it says what to install, and a pod without ports does not need them', async () => {
    const ports = build(join(root, 'empty'))
    const p = await pod(mapping(18087))
    await ports.apply(openScope())
    await ports.remove(openScope(), 'never')
    await expect(ports.add(openScope(), p.ports)).rejects.toThrow(
      /neither nft nor iptables .* install .*nftables/,
    )
    await ports.remove(openScope(), p.podId)
  })

  test('eight pods at once', async () => {
    const ports = build()
    const pods = await Promise.all(Array.from({ length: 8 }, (_, i) => pod(mapping(18090 + i))))
    await Promise.all(pods.map((p) => ports.add(openScope(), p.ports)))
    for (const [i, p] of pods.entries()) await serve(p.netns, `pod${i}`, 'tcp', '7000')
    for (const i of [0, 7]) expect(await ask(node, 'tcp', '127.0.0.1', 18090 + i)).toMatch(`pod${i} `)
    await Promise.all(pods.map((p) => ports.remove(openScope(), p.podId)))
    expect(await traces()).toEqual([])
  })
})

// SPDX-License-Identifier: Apache-2.0
/**
 * The network with the real plugins bridge, host-local and portmap, over the default configuration. The plugins
 * run inside a network namespace that plays the host, so that no interface, rule or sysctl of this machine is
 * touched; what is left over in there is what would be left over on a host. Needs root, the plugins, iptables.
 */
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { silent } from '../../src/base/log.ts'
import { createNetwork, type Network, type PodNetworkRequest } from '../../src/host/cni/network.ts'
import { type Run, run } from '../../src/host/exec.ts'
import { addon, openScope, standIn } from '../support/cni-fp.ts'
import { expectNoLeaks, type Snapshot, snapshot } from '../support/leak-check.ts'

const exec = promisify(execFile)
const PLUGINS = '/usr/lib/cni'
const BRIDGE = 'gtbr0'
/** Static chains of portmap and the jumps to them: it makes them once and keeps them. */
const STATIC = /CNI-HOSTPORT-(DNAT|SETMARK|MASQ)/

const lacking = [
  process.getuid?.() === 0 ? '' : 'it needs root',
  ...['bridge', 'host-local', 'portmap'].map((p) =>
    existsSync(join(PLUGINS, p)) ? '' : `there is no ${PLUGINS}/${p}`,
  ),
  existsSync('/usr/sbin/iptables') ? '' : 'there is no iptables',
].filter((why) => why !== '')

describe.skipIf(lacking.length > 0)(`bridge, host-local, portmap ${lacking.join(', ')}`, () => {
  const native = addon()
  let root = ''
  let host = ''
  let confDir = ''
  let binDir = ''
  let dataDir = ''
  let network: Network
  let before: Snapshot

  /** The same programs, entered into the namespace that plays the host. */
  const runInHost: Run = (scope, deps, options) =>
    run(scope, deps, {
      ...options,
      file: '/usr/bin/nsenter',
      argv: ['nsenter', `--net=${host}`, options.file],
    })
  const inside = async (netns: string, ...command: string[]) =>
    (await exec('/usr/bin/nsenter', [`--net=${netns}`, ...command])).stdout
  const rules = async () =>
    (await inside(host, 'iptables-save')).split('\n').filter((l) => /^-A|^:CNI/.test(l) && !STATIC.test(l))
  const links = async () =>
    (await inside(host, 'ip', '-o', 'link'))
      .trim()
      .split('\n')
      .map((l) => l.split(': ')[1]?.split('@')[0] ?? '')
  const leases = async () =>
    (await readdir(join(dataDir, 'gtnet')).catch(() => [])).filter((f) => /^\d+\./.test(f))
  /** Everything that an attachment may leave on the host. */
  const traces = async () => [
    ...(await rules()),
    ...(await links()).filter((l) => l.startsWith('veth')),
    ...(await leases()),
  ]

  let count = 0
  const pod = async (portMappings: PodNetworkRequest['portMappings'] = []) => {
    const podId = `gtpod${++count}`
    const stateDir = join(root, podId)
    await mkdir(stateDir)
    const netns = join(root, `${podId}.ns`)
    await native.createNamespaces({ net: netns, loopback: true })
    const request: PodNetworkRequest = {
      podId,
      netns,
      podName: podId,
      podNamespace: 'gt',
      podUid: podId,
      portMappings,
      annotations: {},
    }
    return { podId, stateDir, netns, request }
  }

  const build = (bins: readonly string[] = [PLUGINS]) =>
    createNetwork(
      { native, log: silent, run: runInHost },
      {
        confDir,
        binDirs: bins,
        defaultNetwork: { name: 'gtnet', bridge: BRIDGE, subnets: ['10.217.4.0/24'], dataDir },
      },
    )

  beforeAll(async () => {
    before = await snapshot({
      roots: [join(tmpdir(), 'gt-cni-')],
      ruleMarks: ['gtnet', BRIDGE],
      linkPrefixes: ['gtbr'],
    })
    root = await mkdtemp(join(tmpdir(), 'gt-cni-'))
    host = join(root, 'host.ns')
    confDir = join(root, 'conf')
    binDir = join(root, 'bin')
    dataDir = join(root, 'leases')
    await mkdir(confDir)
    await mkdir(binDir)
    await native.createNamespaces({ net: host, loopback: true })
    network = build()
  })
  beforeEach(async () => {
    expect(await traces()).toEqual([])
  })
  afterEach(async () => {
    expect(await traces()).toEqual([])
  })
  afterAll(async () => {
    for (const f of await readdir(root)) if (f.endsWith('.ns')) await native.unpinNamespace(join(root, f))
    await rm(root, { recursive: true, force: true })
    expect(existsSync(root)).toBe(false)
    await expectNoLeaks(before)
  })

  test('a pod gets an address that works, and nothing of it is left afterwards', async () => {
    expect(await network.status(openScope())).toMatchObject({ ready: true, networkName: 'gtnet' })
    const p = await pod()
    const result = await network.attach(openScope(), p.request, p.stateDir)
    expect(result.ips).toHaveLength(1)
    expect(result.interfaces.find((i) => i.name === 'eth0')?.sandbox).toBe(p.netns)
    expect(await inside(p.netns, 'ip', '-o', '-4', 'addr', 'show', 'eth0')).toContain(`${result.ips[0]}/24`)
    expect(await leases()).toEqual(result.ips)
    expect(await rules()).toEqual(expect.arrayContaining([expect.stringContaining('MASQUERADE')]))
    await inside(p.netns, 'busybox', 'ping', '-c1', '-W2', '10.217.4.1')
    await network.check(openScope(), p.stateDir)
    expect(await build().recall(p.stateDir)).toEqual(result)
    await network.detach(openScope(), p.stateDir)
    expect(await readdir(p.stateDir)).toEqual([])
    await network.detach(openScope(), p.stateDir)
    expect(await inside(p.netns, 'ip', '-o', 'link')).not.toContain('eth0')
  })

  test('check finds out that the address is not reserved any more', async () => {
    const p = await pod()
    const { ips } = await network.attach(openScope(), p.request, p.stateDir)
    await rm(join(dataDir, 'gtnet', ips[0] ?? 'none'))
    await expect(network.check(openScope(), p.stateDir)).rejects.toThrow(/CNI plugin bridge \(CHECK\)/)
    await network.detach(openScope(), p.stateDir)
  })

  test('a host port leads to the pod', async () => {
    const p = await pod([{ protocol: 'tcp', containerPort: 80, hostPort: 18080 }])
    await network.attach(openScope(), p.request, p.stateDir)
    const served = inside(
      p.netns,
      'timeout',
      '10',
      'busybox',
      'nc',
      '-l',
      '-p',
      '80',
      '-e',
      '/bin/echo',
      'from the pod',
    )
    await new Promise((r) => setTimeout(r, 300))
    const answer = await inside(host, 'timeout', '5', 'busybox', 'nc', '-w', '3', '10.217.4.1', '18080')
    await served
    expect(answer).toBe('from the pod\n')
    await network.detach(openScope(), p.stateDir)
  })

  test('the namespace is gone before detach: the address, the interface and the host port are free again', async () => {
    const p = await pod([{ protocol: 'tcp', containerPort: 80, hostPort: 18081 }])
    await network.attach(openScope(), p.request, p.stateDir)
    await native.unpinNamespace(p.netns)
    await network.detach(openScope(), p.stateDir)
    expect(await readdir(p.stateDir)).toEqual([])
    // What the bridge plugin cannot find without the namespace, and nothing else.
    const left = await traces()
    const chain = /CNI-[0-9a-f]{24}/.exec(left.join())?.[0] ?? 'none'
    expect(left.every((line) => line.includes(chain))).toBe(true)
    expect(left.filter((line) => line.startsWith('-A'))).toHaveLength(3)
    await inside(host, 'sh', '-c', `iptables-save | grep -v ${chain} | iptables-restore`)
  })

  test('a plugin later in the list fails: detach frees what the earlier ones made', async () => {
    for (const name of ['bridge', 'host-local']) await symlink(join(PLUGINS, name), join(binDir, name))
    const failing = await standIn(binDir, ['portmap'])
    await failing.rule('portmap', 'ADD', 'code', '1')
    await failing.rule('portmap', 'ADD', 'out', '{"code":100,"msg":"by order"}')
    const spoilt = build([binDir])
    const p = await pod()
    await expect(spoilt.attach(openScope(), p.request, p.stateDir)).rejects.toThrow(
      /portmap \(ADD\): by order/,
    )
    expect(await leases()).toHaveLength(1)
    // Another daemon, after a crash, finds the intent.
    await build([binDir]).detach(openScope(), p.stateDir)
    expect(await leases()).toEqual([])
    expect(await readdir(p.stateDir)).toEqual([])
  })

  test('a configuration that no plugin can read: once it is mended, detach and attach succeed', async () => {
    const p = await pod()
    const ipam = { type: 'host-local', dataDir, ranges: [[{ subnet: '10.217.4.0/33' }]] }
    const plugins = [{ type: 'bridge', bridge: BRIDGE, ipam }]
    const file = join(confDir, 'bad.conflist')
    await writeFile(file, JSON.stringify({ cniVersion: '1.0.0', name: 'gtnet', plugins }))
    await expect(network.attach(openScope(), p.request, p.stateDir)).rejects.toThrow(/bridge \(ADD\)/)
    await expect(network.detach(openScope(), p.stateDir)).rejects.toThrow(/bridge \(DEL\)/)
    await rm(file)
    await network.detach(openScope(), p.stateDir)
    expect((await network.attach(openScope(), p.request, p.stateDir)).ips).toHaveLength(1)
    await network.detach(openScope(), p.stateDir)
  })

  test('eight pods at once get eight addresses', async () => {
    const pods = await Promise.all(Array.from({ length: 8 }, () => pod()))
    const results = await Promise.all(pods.map((p) => network.attach(openScope(), p.request, p.stateDir)))
    expect(new Set(results.flatMap((r) => r.ips)).size).toBe(8)
    await Promise.all(pods.map((p) => network.detach(openScope(), p.stateDir)))
  })
})

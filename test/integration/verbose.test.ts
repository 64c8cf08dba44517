// SPDX-License-Identifier: Apache-2.0
/**
 * Verbose answers, read as crictl's templates and people's scripts read them: by the paths that they have been written
 * with for other runtimes. Each value is an object of JSON, and what it says is true of the machine.
 */
import { readFile, readlink, stat } from 'node:fs/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { names } from '../images/catalog.ts'
import { namespaceMode, type RunningPod } from '../support/cri-requests.ts'
import { cgroupMounts } from '../support/host-view.ts'
import { expectNoLeaks } from '../support/leak-check.ts'
import { type Scenario, startScenario } from '../support/scenario.ts'
import { type Kept, kept } from '../support/scenario-run.ts'

let s: Scenario
let pod: RunningPod
let c: Kept

beforeAll(async () => {
  s = await startScenario()
  pod = await s.pod('verbose', {
    bridged: true,
    labels: { app: 'web', hostPath: 'a key as it is' },
    annotations: { note: 'x' },
    linux: { sysctls: { 'net.ipv4.ip_unprivileged_port_start': '80' } },
  })
  c = await kept(s, pod, {
    envs: [{ key: 'COLOUR', value: Buffer.from('blue') }],
    labels: { tier: 'front' },
    mounts: [{ hostPath: s.workspace.logs, containerPath: '/logs', readonly: true }],
    linux: {
      resources: { memoryLimitInBytes: 64n * 1024n * 1024n },
      securityContext: {
        runAsUser: { value: 0n },
        capabilities: { dropCapabilities: ['ALL'] },
        seccomp: { profileType: 0 },
      },
    },
  })
})
afterAll(() => s?.end((before) => expectNoLeaks(before)))

/** Follows `.a.b[0]`, as jq does. */
function at(value: unknown, path: string): unknown {
  return path
    .split(/[.[\]]+/)
    .filter((k) => k !== '')
    .reduce<unknown>(
      (v, key) => (typeof v === 'object' && v !== null ? Reflect.get(v, key) : undefined),
      value,
    )
}

const containerInfo = async (containerId = c.id) =>
  JSON.parse((await s.client.call('ContainerStatus', { containerId, verbose: true })).info.info ?? '')
const podInfo = async (podSandboxId = pod.podId) =>
  JSON.parse((await s.client.call('PodSandboxStatus', { podSandboxId, verbose: true })).info.info ?? '')

describe('a container', () => {
  test('has the paths that scripts ask for', async () => {
    const info = await containerInfo()
    const expected: Record<string, unknown> = {
      '.sandboxID': pod.podId,
      '.removing': false,
      '.snapshotKey': c.id,
      '.snapshotter': 'overlayfs',
      '.privileged': false,
      '.config.metadata.name': c.config.metadata?.name,
      '.config.image.image': names.busybox,
      '.config.envs[0].key': 'COLOUR',
      '.config.envs[0].value': 'blue',
      '.config.labels.tier': 'front',
      '.config.mounts[0].host_path': s.workspace.logs,
      '.config.mounts[0].container_path': '/logs',
      '.config.mounts[0].readonly': true,
      '.config.log_path': c.config.logPath,
      '.config.linux.resources.memory_limit_in_bytes': 64 * 1024 * 1024,
      '.config.linux.security_context.run_as_user.value': 0,
      '.config.linux.security_context.capabilities.drop_capabilities[0]': 'ALL',
      '.config.linux.security_context.namespace_options.pid': namespaceMode.container,
      '.runtimeSpec.process.args[0]': 'sleep',
      '.runtimeSpec.linux.resources.memory.limit': 64 * 1024 * 1024,
      '.runtimeSpec.root.readonly': false,
      '.runtimeOptions.SystemdCgroup': false,
    }
    expect(Object.fromEntries(Object.keys(expected).map((path) => [path, at(info, path)]))).toEqual(expected)
    expect(info.runtimeSpec.process.env).toContain('COLOUR=blue')
    expect(info.runtimeType).toMatch(/^(?:runc|crun)$/)
    expect((await stat(info.runtimeOptions.BinaryName)).mode & 0o111).not.toBe(0)
    expect(info.config.tty).toBeUndefined()
  })

  test('pid is its process, cgroupsPath where it is, and the namespace of the spec the one it has', async () => {
    const { pid, runtimeSpec } = await containerInfo()
    expect(await readFile(`/proc/${pid}/cmdline`, 'utf8')).toBe('sleep\u00003600\u0000')
    const { cgroupsPath, namespaces } = runtimeSpec.linux
    expect(await readFile(`/proc/${pid}/cgroup`, 'utf8')).toContain(`:${cgroupsPath}\n`)
    const found = await Promise.all(
      (await cgroupMounts()).map((m) =>
        stat(`${m}${cgroupsPath}`).then(
          () => true,
          () => false,
        ),
      ),
    )
    expect(found).toContain(true)
    const network = namespaces.find((n: { type: string }) => n.type === 'network')
    expect(`net:[${(await stat(network.path)).ino}]`).toBe(await readlink(`/proc/${pid}/ns/net`))
    expect((await stat(`/proc/${pid}/root/logs`)).isDirectory()).toBe(true)
  })

  test('that has ended has no pid, and still its document', async () => {
    const ended = await kept(s, pod)
    await s.client.call('StopContainer', { containerId: ended.id, timeout: 0n })
    const info = await containerInfo(ended.id)
    expect([info.pid, at(info, '.runtimeSpec.process.args[0]')]).toEqual([0, 'sleep'])
    await s.client.call('RemoveContainer', { containerId: ended.id })
  })

  test('is not asked for more than it is asked', async () => {
    expect((await s.client.call('ContainerStatus', { containerId: c.id })).info).toEqual({})
    expect((await s.client.call('PodSandboxStatus', { podSandboxId: pod.podId })).info).toEqual({})
  })
})

describe('a pod', () => {
  test('has the paths that scripts ask for', async () => {
    const info = await podInfo()
    const { status } = await s.client.call('PodSandboxStatus', { podSandboxId: pod.podId })
    const ip = status?.network?.ip
    const { uid } = pod.config.metadata ?? {}
    const expected: Record<string, unknown> = {
      '.netNamespaceClosed': false,
      '.processStatus': 'running',
      '.config.metadata.namespace': 'default',
      '.config.metadata.uid': uid,
      '.config.labels.hostPath': 'a key as it is',
      '.config.annotations.note': 'x',
      '.config.log_directory': pod.config.logDirectory,
      '.config.linux.security_context.namespace_options.pid': namespaceMode.container,
      '.cniResult.Interfaces.eth0.IPConfigs[0].IP': ip,
      '.sandboxMetadata.Metadata.ID': pod.podId,
      '.sandboxMetadata.Metadata.Name': `verbose_default_${uid}_0`,
      '.sandboxMetadata.Metadata.IP': ip,
      '.sandboxMetadata.Metadata.Config.hostname': 'verbose',
      '.sandboxMetadata.Metadata.CNIResult.Interfaces.eth0.IPConfigs[0].IP': ip,
      '.runtimeSpec.hostname': 'verbose',
      '.runtimeSpec.annotations.note': 'x',
    }
    expect(Object.fromEntries(Object.keys(expected).map((path) => [path, at(info, path)]))).toEqual(expected)
    expect(info.config.linux.sysctls).toEqual({ 'net.ipv4.ip_unprivileged_port_start': '80' })
    expect(at(info, '.cniResult.Interfaces.eth0.IPConfigs[0].Gateway')).toMatch(/^10\.\d+\.\d+\.1$/)
    expect(at(info, '.cniResult.Interfaces.eth0.Mac')).toMatch(/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/)
    expect(at(info, '.cniResult.Routes[0].dst')).toBe('0.0.0.0/0')
    expect(info.runtimeHandler).toMatch(/^(?:runc|crun)$/)
  })

  test('its pid, its path and its spec lead into its network namespace', async () => {
    const info = await podInfo()
    const own = `net:[${(await stat(info.sandboxMetadata.Metadata.NetNSPath)).ino}]`
    expect(await readlink(`/proc/${info.pid}/ns/net`)).toBe(own)
    const network = info.runtimeSpec.linux.namespaces.find((n: { type: string }) => n.type === 'network')
    expect(network.path).toBe(info.sandboxMetadata.Metadata.NetNSPath)
    const mounts = await cgroupMounts()
    const found = await Promise.all(
      mounts.map((m) =>
        stat(`${m}${info.runtimeSpec.linux.cgroupsPath}`).then(
          () => true,
          () => false,
        ),
      ),
    )
    expect(found).toContain(true)
  })

  test('with a process of its own tells its pid; on the network of the node it has no namespace to close', async () => {
    const shared = await s.pod('shared', { pid: namespaceMode.pod })
    const info = await podInfo(shared.podId)
    expect(await readFile(`/proc/${info.pid}/comm`, 'utf8')).toBe('gantry-pause\n')
    expect(at(info, '.runtimeSpec.process.args[0]')).toBe('/gantry-pause')
    expect([
      info.netNamespaceClosed,
      info.cniResult,
      at(info, '.sandboxMetadata.Metadata.NetNSPath'),
    ]).toEqual([false, undefined, ''])
    await shared.remove()
  })

  test('that is stopped says that its network namespace is closed', async () => {
    const stopped = await s.pod('stopped', { bridged: true })
    await s.client.call('StopPodSandbox', { podSandboxId: stopped.podId })
    const info = await podInfo(stopped.podId)
    expect([info.netNamespaceClosed, info.pid, info.processStatus]).toEqual([true, 0, 'deleted'])
    await stopped.remove()
  })
})

test('an image has its specification and the chain of its layers', async () => {
  const { info } = await s.client.call('ImageStatus', { image: { image: names.busybox }, verbose: true })
  const shown = JSON.parse(info.info ?? '')
  expect(shown.chainID).toMatch(/^sha256:[0-9a-f]{64}$/)
  expect(shown.imageSpec.rootfs.diff_ids[0]).toMatch(/^sha256:[0-9a-f]{64}$/)
  expect(shown.imageSpec).toMatchObject({ os: 'linux', config: expect.any(Object) })
  expect(shown).toHaveProperty('labels')
})

describe('the runtime', () => {
  test('has the paths that scripts ask for', async () => {
    const { info } = await s.client.call('Status', { verbose: true })
    const config = JSON.parse(info.config ?? '')
    expect(config).toMatchObject({
      rootDir: s.workspace.state,
      stateDir: s.workspace.run,
      maxContainerLogLineSize: 16384,
      cgroupDriver: 'cgroupfs',
      cni: { confDir: s.workspace.cniConf, binDirs: expect.any(Array), binDir: expect.any(String) },
      containerd: { snapshotter: 'overlayfs', defaultRuntimeName: 'runc' },
    })
    expect(config.containerd.runtimes).toHaveProperty('runc')
    expect(info.lastCNILoadStatus).toBe('OK')
    // CGROUPFS is 1 in the proto.
    expect(await s.client.call('RuntimeConfig', {})).toEqual({ linux: { cgroupDriver: 1 } })
  })

  test('says why the network is not ready where scripts look for it', async () => {
    await s.workspace.removeNetwork()
    const lastStatus = async () => (await s.client.call('Status', { verbose: true })).info.lastCNILoadStatus
    await expect.poll(lastStatus, { timeout: 10_000 }).toContain('there is no CNI configuration')
    await s.workspace.writeNetwork()
    await expect.poll(lastStatus, { timeout: 10_000 }).toBe('OK')
  })

  test('every value of every verbose answer that begins with a brace is an object, and none has a credential', async () => {
    const auth = { username: 'who', password: 'pass-not-to-see' }
    await s.client.call('PullImage', { image: { image: names.busybox }, auth, sandboxConfig: pod.config })
    const infos = [
      (await s.client.call('Status', { verbose: true })).info,
      (await s.client.call('ContainerStatus', { containerId: c.id, verbose: true })).info,
      (await s.client.call('PodSandboxStatus', { podSandboxId: pod.podId, verbose: true })).info,
      (await s.client.call('ImageStatus', { image: { image: names.busybox }, verbose: true })).info,
    ]
    for (const [key, value] of infos.flatMap((i) => Object.entries(i))) {
      if (value.startsWith('{')) expect([key, typeof JSON.parse(value)]).toEqual([key, 'object'])
      expect(value).not.toContain(auth.password)
    }
  })
})

// SPDX-License-Identifier: Apache-2.0
/**
 * Images end to end: what a container sees of an image whose layers hold everything that is hard to unpack, the
 * compressions, the choice of an architecture, and many layers, pulled by the daemon from a real registry.
 */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { at } from '../../conformance/crictl/json-path.ts'
import { ensureTestImages } from '../images/build.ts'
import { names } from '../images/catalog.ts'
import { expectedNote, expectedTree } from '../images/unpack-layers.ts'
import { codeOf, status } from '../support/cri-client.ts'
import {
  containerConfig,
  containerState,
  ensureImage,
  execSync,
  podConfig,
  podState,
  type RunningPod,
  runPod,
  waitForExit,
} from '../support/cri-requests.ts'
import { type Daemon, startDaemon } from '../support/daemon.ts'
import { expectNoLeaks, type Snapshot, snapshot, withoutDaemon } from '../support/leak-check.ts'
import { hostArchitecture } from '../support/oci-image.ts'
import type { Layout } from '../support/oci-layout.ts'
import { hostsOf, type Registry, startRegistry, writeHostsToml } from '../support/registry.ts'
import { makeWorkspace, type Workspace } from '../support/workspace.ts'

const used = [names.layers, names.hello, names.zstd, names.plain, names.foreign, names.foreignIndex]
const all = [...used, names.twoArch, names.manyLayers, names.busybox]

let layout: Layout
let registry: Registry
let workspace: Workspace
let daemon: Daemon
let before: Snapshot
let pod: RunningPod

beforeAll(async () => {
  layout = await ensureTestImages()
  registry = await startRegistry()
  await registry.pushLayout(layout, all)
  workspace = await makeWorkspace()
  await writeHostsToml(workspace.certs, hostsOf(all), registry.url)
  daemon = await startDaemon(workspace)
  before = await snapshot(workspace.leakScope({ daemonPid: daemon.pid }))
  pod = await runPod(daemon.client, podConfig('images', { logDirectory: workspace.logs }))
}, 60_000)

afterAll(async () => {
  try {
    await pod?.remove()
    if (before !== undefined) await expectNoLeaks(before)
    await daemon?.stop()
    if (before !== undefined) await expectNoLeaks(withoutDaemon(before))
  } finally {
    await workspace?.remove()
    await registry?.stop()
  }
}, 60_000)

/** Starts a container of the image that waits to be asked. */
async function waiting(name: string, image: string): Promise<string> {
  await ensureImage(daemon.client, image)
  return pod.start(containerConfig(name, image, { command: ['sleep', '1000'] }))
}

async function output(containerId: string, script: string): Promise<string> {
  const done = await execSync(daemon.client, containerId, ['sh', '-c', script])
  expect([script, done.exitCode, done.stderr]).toEqual([script, 0, ''])
  return done.stdout
}

const kinds: Readonly<Record<string, string>> = {
  'regular file': 'file',
  'regular empty file': 'file',
  directory: 'directory',
  'symbolic link': 'symlink',
  'character special file': 'char',
  'block special file': 'block',
  fifo: 'fifo',
}

describe('the unpack layers', () => {
  let id = ''
  beforeAll(async () => {
    id = await waiting('layers', names.layers)
  })

  it('show exactly the names they should, with kind, mode and owner', async () => {
    const lines = (
      await output(id, 'cd /data; find . -mindepth 1 -exec stat -c "%n|%F|%a|%u|%g" {} ";"')
    ).trimEnd()
    const found = new Map(
      lines.split('\n').map((line) => {
        const [name = '', kind = '', mode = '', uid, gid] = line.split('|')
        const node = { type: kinds[kind], mode: Number.parseInt(mode, 8), uid: Number(uid), gid: Number(gid) }
        return [name.replace(/^\.\//, ''), node]
      }),
    )
    expect([...found.keys()].sort()).toEqual(Object.keys(expectedTree).sort())
    for (const [name, { content: _, target: __, ...node }] of Object.entries(expectedTree))
      expect([name, found.get(name)]).toEqual([name, expect.objectContaining(node)])
  })

  it('show the content and the targets they should', async () => {
    for (const [name, node] of Object.entries(expectedTree)) {
      if (node.content !== undefined)
        expect([name, await output(id, `cat '/data/${name}'`)]).toEqual([name, node.content])
      if (node.target !== undefined)
        expect([name, await output(id, `readlink '/data/${name}'`)]).toEqual([name, `${node.target}\n`])
    }
  })

  it('keep hard links hard and devices working', async () => {
    expect(await output(id, 'stat -c %i /data/one /data/two | sort -u | wc -l')).toBe('1\n')
    expect(await output(id, 'stat -c "%t %T" /data/null')).toBe('1 3\n')
    expect(await output(id, 'echo gone > /data/null; cat /data/null')).toBe('')
  })

  it('keep attributes that are not text', async () => {
    const verbose = await daemon.client.call('ContainerStatus', { containerId: id, verbose: true })
    const pid = Number(at(JSON.parse(verbose.info.info ?? '{}'), 'pid'))
    expect(pid).toBeGreaterThan(1)
    const dump = 'import os,sys; sys.stdout.write(os.getxattr(sys.argv[1], "user.note").hex())'
    const path = `/proc/${pid}/root/data/attributed`
    const { stdout } = await promisify(execFile)('python3', ['-c', dump, path])
    expect(stdout).toBe(Buffer.from(expectedNote).toString('hex'))
  })
})

describe('one program', () => {
  it.each([
    ['gzip', names.hello],
    ['zstd', names.zstd],
    ['not compressed', names.plain],
    ['of two architectures', names.twoArch],
  ])('%s', async (title, image) => {
    await ensureImage(daemon.client, image)
    const name = title.replaceAll(' ', '-')
    const id = await pod.start(containerConfig(name, image, { args: ['0', '5'] }))
    expect(await waitForExit(daemon.client, id)).toMatchObject({ exitCode: 5, state: containerState.exited })
  })
})

describe('images', () => {
  it('of sixty layers show a file of each', async () => {
    const id = await waiting('many', names.manyLayers)
    expect(await output(id, 'ls /many | wc -l; cat /many/00 /many/59')).toBe('60\n00\n59\n')
  })

  it.each([names.foreign, names.foreignIndex])('of other machines only are refused: %s', async (image) => {
    const failed: unknown = await daemon.client
      .call('PullImage', { image: { image } })
      .catch((e: unknown) => e)
    expect(codeOf(failed)).toBe(status.NOT_FOUND)
    expect(String(failed)).toContain(`linux/${hostArchitecture()}`)
    expect((await daemon.client.call('ImageStatus', { image: { image } })).image).toBe(null)
  })

  it('have the digest of their configuration as ID, and that of the index as digest', async () => {
    const imageRef = await ensureImage(daemon.client, names.twoArch)
    const { image } = await daemon.client.call('ImageStatus', { image: { image: names.twoArch } })
    expect(image).toMatchObject({
      id: imageRef,
      repoTags: [names.twoArch],
      repoDigests: [`${names.twoArch.replace(/:latest$/, '')}@${layout.image(names.twoArch).digest}`],
    })
    expect(imageRef).toMatch(/^sha256:[0-9a-f]{64}$/)
  })

  it('are in use by a pod that is ready all the while', async () => {
    const reply = await daemon.client.call('PodSandboxStatus', { podSandboxId: pod.podId })
    expect(reply.status?.state).toBe(podState.ready)
  })
})

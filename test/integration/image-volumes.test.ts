// SPDX-License-Identifier: Apache-2.0
/**
 * Image volumes over the real daemon: what a container sees of an image that is mounted into it, all of it or a part,
 * that nothing leads out and nothing can be written, that pods share one mount, which lives as long as it is needed,
 * also across the death of the daemon; and OCI artifacts, which can be mounted and not run.
 */
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { v1 } from '../../src/edge/cri/gen/api.js'
import { names } from '../images/catalog.ts'
import { waitUntil } from '../support/child.ts'
import { ensureImage, type RunningPod } from '../support/cri-requests.ts'
import { mounts } from '../support/host-view.ts'
import { expectNoLeaks } from '../support/leak-check.ts'
import { buildArtifact, serveArtifact } from '../support/oci-artifact.ts'
import { buildImage } from '../support/oci-image.ts'
import { buildLayer } from '../support/oci-layer.ts'
import { type PullRegistry, pullRegistry } from '../support/pull-registry.ts'
import { type Scenario, startScenario } from '../support/scenario.ts'
import { refusalOf } from '../support/scenario-refusal.ts'
import { busybox, kept, ran } from '../support/scenario-run.ts'

type Mount = v1.Mount.$Properties

let s: Scenario
let double: PullRegistry
let pod: RunningPod
/** Two layers; one layer; none; an artifact. By id, as the kubelet names them. */
let deep: string
let flat: string
let bare: string
let artifact: string

const refOf = (name: string) => `${double.host}/volumes/${name}:1`
const pull = async (name: string) =>
  (await s.client.call('PullImage', { image: { image: refOf(name) } })).imageRef

beforeAll(async () => {
  double = await pullRegistry()
  const base = await buildLayer([
    { type: 'directory', path: 'etc' },
    { type: 'file', path: 'etc/app.conf', content: 'below' },
    { type: 'file', path: 'etc/gone', content: 'gone' },
    { type: 'symlink', path: 'etc/up', target: '../../../../../etc/app.conf' },
    { type: 'file', path: 'bin/tool', content: '#!/bin/sh\necho ran\n', mode: 0o755 },
    { type: 'symlink', path: 'folder', target: '/etc' },
    { type: 'symlink', path: 'out', target: '/proc/self/environ' },
    { type: 'symlink', path: 'loop', target: 'loop' },
    { type: 'fifo', path: 'pipe' },
  ])
  const top = await buildLayer([
    { type: 'file', path: 'etc/app.conf', content: 'above' },
    { type: 'file', path: 'etc/.wh.gone', content: '' },
  ])
  double.add('volumes/deep', '1', buildImage({ layers: [base, top] }))
  const one = await buildLayer([{ type: 'file', path: 'one', content: 'one layer' }])
  double.add('volumes/flat', '1', buildImage({ layers: [one] }))
  double.add('volumes/bare', '1', buildImage({ layers: [] }))
  const files = [
    { title: 'model.bin', content: 'weights' },
    { title: 'sub/config.json', content: '{"a":1}', mediaType: 'application/json' },
    { content: 'no title' },
  ]
  serveArtifact(double, { repository: 'volumes/artifact', tag: '1' }, buildArtifact(files))
  s = await startScenario()
  pod = await s.pod('volumes')
  ;[deep, flat, bare, artifact] = [
    await pull('deep'),
    await pull('flat'),
    await pull('bare'),
    await pull('artifact'),
  ]
}, 60_000)
afterAll(async () => {
  await s?.end((before) => expectNoLeaks(before))
  await double?.[Symbol.asyncDispose]()
})

const volume = (image: string, more: Mount = {}): Mount => ({
  containerPath: '/vol',
  image: { image },
  readonly: true,
  ...more,
})

async function volumeMounts(): Promise<readonly string[]> {
  const folder = join(s.workspace.run, 'image-volumes')
  return (await mounts()).map((m) => m.mountPoint).filter((path) => path.startsWith(folder))
}
const noneMounted = () =>
  waitUntil('no image is mounted as a volume', async () => (await volumeMounts()).length === 0, {
    withinMs: 10_000,
  })
const mountOf = (image: string) =>
  join(s.workspace.run, 'image-volumes', image.replace('sha256:', ''), 'files')

const create = (config: ReturnType<typeof busybox>, of: RunningPod = pod) =>
  s.client.call('CreateContainer', { podSandboxId: of.podId, config, sandboxConfig: of.config })

describe('a container with an image volume', () => {
  it('sees its layers as one, can run its programs, and cannot write', async () => {
    const script =
      'cat /vol/etc/app.conf; ls /vol/etc; /vol/bin/tool; touch /vol/new; echo $?; grep " /vol " /proc/mounts'
    const { stdout, stderr } = await ran(s, pod, script, { mounts: [volume(deep)] })
    const lines = stdout.trimEnd().split('\n')
    expect(lines.slice(0, 4)).toEqual(['aboveapp.conf', 'up', 'ran', '1'])
    expect(stderr).toContain('Read-only file system')
    expect(lines[4]?.split(' ')[3]?.split(',')).toEqual(expect.arrayContaining(['ro', 'nosuid', 'nodev']))
  })

  it.each([
    ['one layer', () => flat, 'one\n'],
    ['no layer', () => bare, ''],
  ])('that has %s', async (_what, image, listed) => {
    const { stdout } = await ran(s, pod, 'ls /vol; touch /vol/new 2>/dev/null || echo ro', {
      mounts: [volume(image())],
    })
    expect(stdout).toBe(`${listed}ro\n`)
  })

  it.each([
    ['a folder', 'etc', 'cat /vol/app.conf', 'above'],
    ['a file', 'etc/app.conf', 'cat /vol', 'above'],
    ['a folder through a link from the root', 'folder', 'cat /vol/app.conf', 'above'],
    ['a file through a link that climbs above the root', 'etc/up', 'cat /vol', 'above'],
    ['all of it, said so', '.', 'cat /vol/etc/app.conf', 'above'],
  ])('can have %s of it', async (_what, imageSubPath, script, shown) => {
    const { stdout } = await ran(s, pod, script, { mounts: [volume(deep, { imageSubPath })] })
    expect(stdout).toBe(shown)
  })

  it.each([
    ['what is not there', 'etc/none', 'NOT_FOUND', /"etc\/none" is not in the image/],
    ['what a layer above has taken away', 'etc/gone', 'NOT_FOUND', /is not in the image/],
    ['what is below a file', 'etc/app.conf/x', 'NOT_FOUND', /is not in the image/],
    ['what a link shows outside', 'out', 'NOT_FOUND', /"out" is not in the image/],
    ['a link in a circle', 'loop', 'INVALID_ARGUMENT', /loop of links/],
    ['what is no file', 'pipe', 'INVALID_ARGUMENT', /neither a file nor a folder/],
    ['what is above', '../..', 'INVALID_ARGUMENT', /image_sub_path: .*leaves/],
  ])('cannot have %s', async (_what, imageSubPath, code, why) => {
    const config = busybox({ mounts: [volume(deep, { imageSubPath })] })
    const refusal = await refusalOf(create(config))
    expect(refusal).toMatchObject({ code, details: expect.stringMatching(why) })
    if (!imageSubPath.includes('..')) expect(refusal.details).toMatch(/^ImageVolumeMountFailed: .*at \/vol/)
    await noneMounted()
  })

  it('is refused when the image is not here', async () => {
    const config = busybox({ mounts: [volume(refOf('none'))] })
    expect(await refusalOf(create(config))).toEqual({
      code: 'NOT_FOUND',
      details: expect.stringMatching(
        /^ImageVolumeMountFailed: image volume ".*none:1" at \/vol: .*pull it first/,
      ),
    })
  })

  it('shows it in its status, with the id that the pull has told', async () => {
    const image = { image: refOf('deep'), userSpecifiedImage: 'deep' }
    const { containerId } = await create(busybox({ mounts: [volume('', { image, imageSubPath: 'etc' })] }))
    const { status } = await s.client.call('ContainerStatus', { containerId })
    expect(status?.mounts).toMatchObject([
      {
        containerPath: '/vol',
        hostPath: '',
        readonly: true,
        image: { ...image, imageRef: deep },
        imageSubPath: 'etc',
      },
    ])
    await s.client.call('RemoveContainer', { containerId })
    await noneMounted()
  })
})

it('cannot be made writable by a privileged container', async () => {
  const privileged = await s.pod('volumes-privileged', { privileged: true })
  for (const image of [deep, flat, bare]) {
    const script = 'mount -o remount,rw /vol; mount -o remount,bind,rw /vol; touch /vol/new && echo written'
    const { stdout } = await ran(s, privileged, script, {
      mounts: [volume(image)],
      linux: { securityContext: { privileged: true } },
    })
    expect([image, stdout]).toEqual([image, ''])
  }
  await privileged.remove()
})

describe('the mount of an image', () => {
  it('is one for all pods, and goes with the last container that needs it', async () => {
    const other = await s.pod('volumes-2')
    const a = await kept(s, pod, { mounts: [volume(deep)] })
    const b = await kept(s, other, { mounts: [volume(deep, { imageSubPath: 'etc' })] })
    expect(await volumeMounts()).toEqual([mountOf(deep)])
    await other.remove()
    expect(await volumeMounts()).toEqual([mountOf(deep)])
    expect(await a.sh('cat /vol/etc/app.conf')).toBe('above')
    await s.client.call('StopContainer', { containerId: a.id, timeout: 0n })
    await noneMounted()
    for (const containerId of [a.id, b.id]) await s.client.call('RemoveContainer', { containerId })
    expect(await readdir(join(s.workspace.run, 'image-volumes'))).toEqual([])
  })

  it('outlives the daemon, and RemoveImage, for as long as a container has it', async () => {
    // Of its own: containers that have ended hold their images, too.
    const own = await buildLayer([{ type: 'file', path: 'one', content: 'of its own' }])
    double.add('volumes/own', '1', buildImage({ layers: [own] }))
    const id = await pull('own')
    const c = await kept(s, pod, { mounts: [volume(id)] })
    await s.client.call('RemoveImage', { image: { image: id } })
    expect((await s.client.call('ImageStatus', { image: { image: id } })).image).toBeNull()
    await s.daemon.kill9()
    await s.daemon.restart()
    expect(await c.sh('cat /vol/one')).toBe('of its own')
    expect(await volumeMounts()).toEqual([mountOf(id)])
    // Joined by another, after the restart.
    expect(await pull('own')).toBe(id)
    const d = await kept(s, pod, { mounts: [volume(id)] })
    expect(await volumeMounts()).toEqual([mountOf(id)])
    await s.client.call('RemoveImage', { image: { image: id } })
    const layers = join(s.workspace.state, 'layers')
    const before = (await readdir(layers)).length
    await s.client.call('RemoveContainer', { containerId: c.id })
    expect(await d.sh('cat /vol/one')).toBe('of its own')
    await s.client.call('RemoveContainer', { containerId: d.id })
    await noneMounted()
    await waitUntil('its layer has gone', async () => (await readdir(layers)).length < before, {
      withinMs: 10_000,
    })
  })

  it('whose last container ended while the daemon was away is gone at the next start', async () => {
    const c = await kept(s, pod, { mounts: [volume(deep)] })
    const pid = await c.pid()
    await s.daemon.kill9()
    process.kill(pid, 'SIGKILL')
    await s.daemon.restart()
    await noneMounted()
    await s.client.call('RemoveContainer', { containerId: c.id })
  })
})

describe('an OCI artifact', () => {
  it('is listed and told of like an image', async () => {
    const { images } = await s.client.call('ListImages', {})
    expect(images?.find((i) => i.id === artifact)).toMatchObject({
      repoTags: [refOf('artifact')],
      username: '',
    })
    const { image, info } = await s.client.call('ImageStatus', {
      image: { image: refOf('artifact') },
      verbose: true,
    })
    expect(image?.id).toBe(artifact)
    expect(Number(image?.size)).toBeGreaterThan(0)
    expect(info.info).toContain('vnd.gantry.test.model')
  })

  it('is a folder of its blobs by title, or one of them', async () => {
    const { stdout } = await ran(
      s,
      pod,
      'cat /vol/model.bin /vol/sub/config.json; ls /vol | wc -l; cat /one',
      {
        mounts: [
          volume(artifact),
          volume(refOf('artifact'), { containerPath: '/one', imageSubPath: 'sub/config.json' }),
        ],
        linux: { securityContext: { runAsUser: { value: 1234n } } },
      },
    )
    expect(stdout).toBe('weights{"a":1}3\n{"a":1}')
  })

  it('cannot be run', async () => {
    const config = { ...busybox(), image: { image: refOf('artifact') } }
    expect(await refusalOf(create(config))).toEqual({
      code: 'INVALID_ARGUMENT',
      details: expect.stringContaining('is an artifact, which has no root file system'),
    })
  })

  it('whose titles lead out of it is not pulled', async () => {
    for (const title of ['../x', '/etc/x', 'a/../../x', 'a//b', '.']) {
      const bad = buildArtifact([{ title, content: title }])
      serveArtifact(double, { repository: 'volumes/bad', tag: '1' }, bad)
      const refusal = await refusalOf(s.client.call('PullImage', { image: { image: refOf('bad') } }))
      expect([title, refusal.code]).toEqual([title, 'DATA_LOSS'])
      expect(refusal.details).toContain('is not a path of a file in the volume')
    }
  })

  it('of which a blob is wrong is not pulled, and the next pull works', async () => {
    const good = buildArtifact([{ title: 'a', content: 'right' }])
    serveArtifact(double, { repository: 'volumes/late', tag: '1' }, good)
    const [file] = good.files
    if (!file) throw new Error('no file')
    double.put('volumes/late', file.digest, { mediaType: file.mediaType, bytes: Buffer.from('wrong') })
    const refusal = await refusalOf(s.client.call('PullImage', { image: { image: refOf('late') } }))
    expect(refusal).toMatchObject({ code: 'DATA_LOSS', details: expect.stringContaining(file.digest) })
    serveArtifact(double, { repository: 'volumes/late', tag: '1' }, good)
    expect(await pull('late')).toBe(good.manifest.digest)
    await s.client.call('RemoveImage', { image: { image: refOf('late') } })
  })

  it('is removed like an image', async () => {
    await s.client.call('RemoveImage', { image: { image: refOf('artifact') } })
    expect((await s.client.call('ImageStatus', { image: { image: artifact } })).image).toBeNull()
    await ensureImage(s.client, names.busybox)
  })
})

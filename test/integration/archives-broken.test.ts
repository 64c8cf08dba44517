// SPDX-License-Identifier: Apache-2.0
/** Image archives that are broken, refused, too large, or given up: nothing is left, and the next load works. */
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { Fault } from '../../src/base/fault.ts'
import { childScope } from '../../src/base/scope.ts'
import { imageRecords } from '../../src/host/images/records.ts'
import { processes } from '../support/host-view.ts'
import { inPieces, pull, sample, saved } from '../support/image-archive.ts'
import { imageStore, native, scope } from '../support/image-store.ts'
import { expectNoLeaks, type Snapshot, snapshot } from '../support/leak-check.ts'
import { type PullRegistry, pullRegistry } from '../support/pull-registry.ts'
import { tarArchive, tarEntry } from '../support/tar-writer.ts'

vi.setConfig({ testTimeout: 30_000 })

let before: Snapshot
let root: string
let registry: PullRegistry

beforeAll(async () => {
  before = await snapshot({ roots: [join(tmpdir(), 'gt-broken-')], linkPrefixes: [] })
})
afterAll(() => expectNoLeaks(before))
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'gt-broken-'))
  registry = await pullRegistry()
})
afterEach(async () => {
  await registry[Symbol.asyncDispose]()
  await rm(root, { recursive: true, force: true })
})

async function killWorkers(): Promise<void> {
  const workers = (await processes()).filter((p) => p.ppid === process.pid && p.comm === 'gantry-pull')
  for (const { pid } of workers) process.kill(pid, 'SIGKILL')
}

describe('a load that fails leaves nothing, and the next one works', () => {
  test.each<[string, RegExp, (archive: Buffer) => Buffer]>([
    ['cut short', /load the archive: it is no whole tar/, (a) => a.subarray(0, a.length / 2)],
    [
      'damaged in the middle',
      /its content has the digest|no whole tar/,
      (a) => Buffer.concat([a.subarray(0, 3000), Buffer.from('!'), a.subarray(3001)]),
    ],
    ['something else', /no image archive/, () => tarArchive(tarEntry({ name: 'README' }, 'hello'))],
  ])('%s', async (_what, message, spoil) => {
    registry.add('a/b', 'v1', await sample('one'))
    const from = await imageStore(join(root, 'from'))
    await pull(from.images, `${registry.host}/a/b:v1`)
    const { archive } = await saved(from.images, [`${registry.host}/a/b:v1`])
    const { images } = await imageStore(root)
    await expect(images.loadArchive(scope, inPieces(spoil(archive)))).rejects.toThrow(message)
    expect(images.list()).toEqual([])
    await images.collect()
    expect(await readdir(join(root, 'layers'))).toEqual([])
    await images.loadArchive(scope, inPieces(archive))
    expect(images.list()).toHaveLength(1)
  })

  test.each([
    [
      'by the transport',
      {
        default: [{ type: 'insecureAcceptAnything' }],
        transports: { 'docker-archive': { '': [{ type: 'reject' }] } },
      },
      'docker',
    ],
    ['by default', { default: [{ type: 'reject' }] }, 'oci'],
  ] as const)('refused by the signature policy, %s', async (_what, policy, format) => {
    registry.add('a/b', 'v1', await sample('one'))
    const from = await imageStore(join(root, 'from'))
    await pull(from.images, `${registry.host}/a/b:v1`)
    const { archive } = await saved(from.images, [`${registry.host}/a/b:v1`], format)
    const policyFile = join(root, 'policy.json')
    await writeFile(policyFile, JSON.stringify(policy))
    const { images } = await imageStore(root, { policyFile })
    const transport = `${format}-archive`
    await expect(images.loadArchive(scope, inPieces(archive))).rejects.toMatchObject({
      kind: 'denied',
      message: expect.stringContaining(`add "${transport}": {"": [{"type": "insecureAcceptAnything"}]} to`),
      reason: 'SignatureValidationFailed',
    })
    expect(await readdir(join(root, 'layers'))).toEqual([])
    await writeFile(
      policyFile,
      JSON.stringify({
        default: [{ type: 'reject' }],
        transports: { [`${format}-archive`]: { '': [{ type: 'insecureAcceptAnything' }] } },
      }),
    )
    expect((await images.loadArchive(scope, inPieces(archive))).images).toHaveLength(1)
  })

  test('between two records: the image before is there, the next load brings the rest', async () => {
    for (const one of ['one', 'two']) registry.add('a/b', one, await sample(one))
    const [first, second] = ['one', 'two'].map((tag) => `${registry.host}/a/b:${tag}`)
    if (!first || !second) throw new Error('no names')
    const from = await imageStore(join(root, 'from'))
    for (const name of [first, second]) await pull(from.images, name)
    const { archive } = await saved(from.images, [first, second])
    const records = imageRecords(join(root, 'images'))
    let full = true
    const write: typeof records.write = async (record, blobs) => {
      if (full && record.repoTags.includes(second)) throw new Error('ENOSPC: no space left on device')
      await records.write(record, blobs)
    }
    const { images } = await imageStore(root, { deps: { records: { ...records, write } } })
    await expect(images.loadArchive(scope, inPieces(archive))).rejects.toThrow(`image ${second}: ENOSPC`)
    await images.collect()
    expect(images.list().map((i) => i.repoTags)).toEqual([[first]])
    expect((await readdir(join(root, 'layers'))).length).toBe(2)
    full = false
    await images.loadArchive(scope, inPieces(archive))
    expect(
      images
        .list()
        .flatMap((i) => i.repoTags)
        .sort(),
    ).toEqual([first, second])
  })

  test('larger than the limit', async () => {
    const { images } = await imageStore(root, { maxArchiveBytes: 100_000 })
    const archive = tarArchive(tarEntry({ name: 'a' }, Buffer.alloc(200_000)))
    await expect(images.loadArchive(scope, inPieces(archive))).rejects.toThrow(/larger than 100000 bytes/)
    expect(await readdir(join(root, 'layers'))).toEqual([])
  })

  test('larger than the disk', async () => {
    const small = join(root, 'small')
    await mkdir(small)
    await native.mount({ type: 'tmpfs', source: 'gt-small', target: small, data: 'size=1m' })
    try {
      const { images } = await imageStore(small)
      const archive = tarArchive(tarEntry({ name: 'a' }, Buffer.alloc(3_000_000, 'a')))
      await expect(images.loadArchive(scope, inPieces(archive))).rejects.toMatchObject({ kind: 'exhausted' })
      expect(await readdir(join(small, 'layers'))).toEqual([])
    } finally {
      await native.umount(small, true)
    }
  })

  test('when its source fails, with the reason of the source', async () => {
    const { images } = await imageStore(root)
    async function* broken() {
      yield tarEntry({ name: 'a' }, 'a')
      throw new Fault('cancelled', 'the client went away')
    }
    await expect(images.loadArchive(scope, broken())).rejects.toThrow(
      /the source of the archive: the client went away/,
    )
    expect(await readdir(join(root, 'layers'))).toEqual([])
  })

  test('when it is given up', async () => {
    const { images } = await imageStore(root)
    const own = childScope(scope)
    const silent = new PassThrough()
    silent.write(tarEntry({ name: 'a' }, 'a'))
    const loading = images.loadArchive(own, silent, {
      onProgress: () => own.abort(new Fault('cancelled', 'enough')),
    })
    await expect(loading).rejects.toThrow('enough')
    expect(await readdir(join(root, 'layers'))).toEqual([])
  })

  test('when its worker is killed, and the next one is taken', async () => {
    const { images } = await imageStore(root)
    registry.add('a/b', 'v1', await sample('one'))
    await pull(images, `${registry.host}/a/b:v1`)
    const { archive } = await saved(images, [`${registry.host}/a/b:v1`])
    await images.prune(scope, { all: true })
    const half = new PassThrough()
    half.write(archive.subarray(0, archive.length / 2))
    const loading = images.loadArchive(scope, half, {
      // Told more than once: by then it may have ended.
      onProgress: () => void killWorkers().catch(() => {}),
    })
    await expect(loading).rejects.toThrow(/ended by signal 9/)
    expect([images.list(), await readdir(join(root, 'layers'))]).toEqual([[], []])
    expect((await images.loadArchive(scope, inPieces(archive))).images).toHaveLength(1)
  })
})

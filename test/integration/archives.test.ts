// SPDX-License-Identifier: Apache-2.0
/**
 * Image archives through the real worker: what is saved comes back as the same image with the same files, here
 * and in the hands of GNU tar; archives of other tools are taken; a bad one leaves nothing.
 */
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { promisify } from 'node:util'
import { gzipSync } from 'node:zlib'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { Fault } from '../../src/base/fault.ts'
import type { Images } from '../../src/engine/images/images.ts'
import { inPieces, pull, sample, saved } from '../support/image-archive.ts'
import { imageStore, scope } from '../support/image-store.ts'
import { expectNoLeaks, type Snapshot, snapshot } from '../support/leak-check.ts'
import { buildImage } from '../support/oci-image.ts'
import { buildLayer } from '../support/oci-layer.ts'
import { type PullRegistry, pullRegistry } from '../support/pull-registry.ts'

vi.setConfig({ testTimeout: 30_000 })

let before: Snapshot
let root: string
let registry: PullRegistry

beforeAll(async () => {
  before = await snapshot({ roots: [join(tmpdir(), 'gt-archives-')], linkPrefixes: [] })
})
afterAll(() => expectNoLeaks(before))
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'gt-archives-'))
  registry = await pullRegistry()
})
afterEach(async () => {
  await registry[Symbol.asyncDispose]()
  await rm(root, { recursive: true, force: true })
})

/** Every path of the layers with what can be seen of it, for comparing. */
async function listing(from: Images, reference: string): Promise<string> {
  const record = from.find(reference)
  if (!record) throw new Error(`no image ${reference}`)
  const format = '%P %y %m %U %G %s %l %T@\\n'
  const said: string[] = []
  for (const dir of from.lowerDirs(record)) {
    const { stdout } = await promisify(execFile)('find', [dir, '-mindepth', '1', '-printf', format])
    // A whiteout is of the moment when it was made.
    said.push(
      stdout
        .replace(/^(.* c .*) \S+$/gm, '$1')
        .split('\n')
        .sort()
        .join('\n'),
    )
  }
  return said.join('\n--\n')
}

const leftovers = async (place = root) =>
  (await readdir(join(place, 'layers'))).filter((n) => /^\.(tmp|part)/.test(n))

describe('pull, save, remove, load', () => {
  test.each([
    ['docker', true, 'oci'],
    ['docker', false, 'oci'],
    ['oci', true, 'docker'],
    ['oci', false, 'docker'],
  ] as const)('as %s, blobs kept: %s, from a %s manifest', async (format, keepBlobs, kind) => {
    const image = await sample('one', kind)
    registry.add('a/b', 'v1', image)
    const { images } = await imageStore(root, { keepBlobs })
    const name = `${registry.host}/a/b:v1`
    const record = await pull(images, name)
    const files = await listing(images, name)
    const { archive, warnings, images: told } = await saved(images, [name], format)
    expect(told).toEqual([{ id: record.id, names: [name] }])
    expect(warnings).toHaveLength(keepBlobs ? 0 : 1)
    await images.remove(scope, name)
    await images.collect()
    expect(await readdir(join(root, 'layers'))).toEqual([])

    const loaded = await images.loadArchive(scope, inPieces(archive))
    expect(loaded).toEqual({ images: [{ id: record.id, names: [name] }], warnings: [] })
    const again = images.find(name)
    expect(again?.id).toBe(image.config.digest)
    expect(again?.layers.map((l) => l.chainId)).toEqual(record.layers.map((l) => l.chainId))
    expect(again?.config).toEqual(record.config)
    expect(again?.manifestDigest === image.manifest.digest).toBe(keepBlobs)
    expect(await listing(images, name)).toBe(files)
    expect(await leftovers()).toEqual([])
  })

  test('several images share layers in one archive, and the archive is the same each time', async () => {
    registry.add('a/b', 'v1', await sample('one'))
    registry.add('a/b', 'v2', await sample('two'))
    const { images } = await imageStore(root)
    const names = ['v1', 'v2'].map((tag) => `${registry.host}/a/b:${tag}`)
    for (const name of names) await pull(images, name)
    const { archive } = await saved(images, names)
    expect((await saved(images, names)).archive.equals(archive)).toBe(true)
    const other = await imageStore(join(root, 'other'))
    const { images: loaded } = await other.images.loadArchive(scope, inPieces(gzipSync(archive)))
    expect(loaded.flatMap((i) => i.names)).toEqual(names)
    for (const name of names) expect(await listing(other.images, name)).toBe(await listing(images, name))
  })

  test('GNU tar reads it, and every blob is what its name says', async () => {
    registry.add('a/b', 'v1', await sample('one'))
    const { images } = await imageStore(root)
    await pull(images, `${registry.host}/a/b:v1`)
    const { archive } = await saved(images, [`${registry.host}/a/b:v1`])
    await writeFile(join(root, 'image.tar'), archive)
    await mkdir(join(root, 'x'))
    await promisify(execFile)('tar', ['-xf', join(root, 'image.tar'), '-C', join(root, 'x')])
    const { stdout } = await promisify(execFile)('sh', [
      '-c',
      'cd "$0/blobs/sha256" && for f in *; do echo "$f  $f"; done | sha256sum -c --quiet && ls ../..',
      join(root, 'x'),
    ])
    expect(stdout.split('\n')).toEqual(['blobs', 'index.json', 'manifest.json', 'oci-layout', ''])
    const docker = JSON.parse(await readFile(join(root, 'x/manifest.json'), 'utf8'))
    expect(docker[0].RepoTags).toEqual([`${registry.host}/a/b:v1`])
  })

  test('a name that another image had goes to the image of the archive', async () => {
    registry.add('a/b', 'v1', await sample('one'))
    const { images } = await imageStore(root)
    const name = `${registry.host}/a/b:v1`
    const one = await pull(images, name)
    const { archive } = await saved(images, [name])
    registry.add('a/b', 'v1', await sample('two'))
    await pull(images, name)
    await images.loadArchive(scope, inPieces(archive))
    expect(images.find(name)?.id).toBe(one.id)
  })
})

describe('a save', () => {
  test('goes at the pace of its reader and holds no more than a little of it', async () => {
    const noise = Buffer.from(Array.from({ length: 2 ** 20 }, (_, i) => (i * 7919 + (i >> 8)) % 256))
    const content = Buffer.concat(Array.from({ length: 24 }, () => noise))
    registry.add(
      'a/b',
      'v1',
      buildImage({ layers: [await buildLayer([{ type: 'file', path: 'a', content }])] }),
    )
    const { images } = await imageStore(root)
    await pull(images, `${registry.host}/a/b:v1`)
    let asked = 0
    let taken = 0
    let most = 0
    const slow = new Writable({
      highWaterMark: 64 * 1024,
      write(piece: Buffer, _encoding, done) {
        taken += piece.length
        most = Math.max(most, this.writableLength)
        asked++
        if (asked % 50 === 0) setTimeout(done, 5)
        else done()
      },
    })
    const { bytes } = await images.save(
      scope,
      { references: [`${registry.host}/a/b:v1`], format: 'oci' },
      slow,
    )
    expect(taken).toBe(bytes)
    expect(taken).toBeGreaterThan(24 * 2 ** 20)
    expect(most).toBeLessThan(2 ** 20)
  })

  test('ends with the reason of a reader that fails', async () => {
    registry.add('a/b', 'v1', await sample('one'))
    const { images } = await imageStore(root)
    await pull(images, `${registry.host}/a/b:v1`)
    const gone = new Writable({
      write: (_piece, _encoding, done) => done(new Fault('cancelled', 'the client went away')),
    })
    const saving = images.save(scope, { references: [`${registry.host}/a/b:v1`], format: 'oci' }, gone)
    await expect(saving).rejects.toThrow(/the reader of the archive: the client went away/)
    expect(await leftovers()).toEqual([])
  })

  test('of a damaged layer is refused, naming the layer and the way out', async () => {
    registry.add('a/b', 'v1', await sample('one'))
    const { images } = await imageStore(root)
    const record = await pull(images, `${registry.host}/a/b:v1`)
    await writeFile(join(images.lowerDirs(record)[0] ?? '', 'tmp/one'), 'changed')
    await expect(saved(images, [record.id])).rejects.toThrow(
      new RegExp(`layer ${record.layers[1]?.digest} cannot be given back.*keep_blobs`),
    )
    expect(await leftovers()).toEqual([])
  })

  test('of what is not here says so', async () => {
    const { images } = await imageStore(root)
    await expect(saved(images, ['quay.io/no/such:1'])).rejects.toThrow(/"quay.io\/no\/such:1" is not here/)
  })
})

/** Debian's skopeo knows both kinds of archive from the other side; `npm test` installs it. */
const skopeo = existsSync('/usr/bin/skopeo')
describe.skipIf(!skopeo)('skopeo, if it is installed,', () => {
  const run = (...args: string[]) =>
    promisify(execFile)('skopeo', ['--insecure-policy', '--tmpdir', root, 'copy', '-q', ...args])

  test.each([
    ['docker', 'docker-archive:'],
    ['docker', 'oci-archive:'],
    ['oci', 'oci-archive:'],
  ] as const)(
    'takes an archive that was saved as %s as %s and gives the same image',
    async (format, transport) => {
      const image = await sample('one')
      registry.add('a/b', 'v1', image)
      const { images } = await imageStore(root)
      await pull(images, `${registry.host}/a/b:v1`)
      const { archive } = await saved(images, [`${registry.host}/a/b:v1`], format)
      await writeFile(join(root, 'image.tar'), archive)
      await run(`${transport}${join(root, 'image.tar')}`, `dir:${join(root, 'copy')}`)
      const manifest = JSON.parse(await readFile(join(root, 'copy/manifest.json'), 'utf8'))
      expect(manifest.config.digest).toBe(image.config.digest)
    },
  )

  test.each(['docker-archive:', 'oci-archive:'])(
    'writes a %s that is loaded as the same image',
    async (transport) => {
      const image = await sample('one')
      registry.add('a/b', 'v1', image)
      const from = `docker://${registry.host}/a/b:v1`
      await run('--src-tls-verify=false', from, `${transport}${join(root, 'image.tar')}:quay.io/a/b:v2`)
      const { images } = await imageStore(root)
      const { images: loaded } = await images.loadArchive(
        scope,
        inPieces(await readFile(join(root, 'image.tar'))),
      )
      expect(loaded).toEqual([{ id: image.config.digest, names: ['quay.io/a/b:v2'] }])
      expect((await pull(images, `${registry.host}/a/b:v1`)).layers).toHaveLength(2)
    },
  )
})

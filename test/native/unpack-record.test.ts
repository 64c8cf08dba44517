// SPDX-License-Identifier: Apache-2.0
/**
 * The record of a layer: its tar stream comes back byte for byte, or it is said why not, and a tree that is not
 * what it was is found out. Through the TypeScript side and the real program.
 */
import { execFileSync } from 'node:child_process'
import {
  appendFileSync,
  chmodSync,
  chownSync,
  mkdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { gzipSync } from 'node:zlib'
import { afterEach, describe, expect, test } from 'vitest'
import { silent } from '../../src/base/log.ts'
import { packLayer } from '../../src/host/unpack/pack.ts'
import { startUnpack } from '../../src/host/unpack/parent.ts'
import { verifyLayer } from '../../src/host/unpack/verify.ts'
import { gnuLong, paxHeader, tarArchive, tarEntry } from '../support/tar-writer.ts'
import { native } from './addon-fixture.ts'
import { type Ground, ground, sha256, UNPACK } from './unpack-fixture.ts'
import { seedBlobs } from './unpack-seeds.ts'

const deps = { native, program: UNPACK }
const scope = { signal: new AbortController().signal, log: silent }

/** Unpacks with a record; tells both places. */
async function layerOf(g: Ground, tar: Buffer) {
  const at = { fs: g.layer, record: join(g.root, 'record') }
  const blob = gzipSync(tar, { level: 1 })
  const u = startUnpack(scope, deps, {
    into: at.fs,
    record: at.record,
    digest: sha256(blob),
    size: blob.length,
    diffId: sha256(tar),
  })
  u.stdin.end(blob)
  return { ...at, diffId: sha256(tar), result: await u.result }
}

async function packed(layer: { fs: string; record: string; diffId: string }): Promise<Buffer> {
  const packing = packLayer(scope, deps, layer)
  const tar = await buffer(packing.stdout)
  expect(await packing.result).toEqual({ diffId: layer.diffId, bytes: tar.length })
  return tar
}

const grounds: Ground[] = []
const fresh = (): Ground => {
  const g = ground()
  grounds.push(g)
  return g
}
afterEach(() => {
  for (const g of grounds.splice(0)) g[Symbol.dispose]()
})

/** A tree of all kinds that replaces nothing. */
const zoo = tarArchive(
  paxHeader([['comment', 'of all']], 'g'),
  tarEntry({ name: './', type: '5', mode: 0o711, uid: 4 }),
  tarEntry({ name: 'etc/', type: '5', mode: 0o2755, gid: 8 }),
  tarEntry({ name: 'etc/motd', mode: 0o4755, uid: 3 }, 'hello'),
  tarEntry({ name: 'etc/hard', type: '1', link: 'etc/motd' }),
  tarEntry({ name: 'etc/soft', type: '2', link: '/etc/motd' }),
  tarEntry({ name: 'soft', type: '2', link: 'etc' }),
  tarEntry({ name: 'soft/through' }, 'a link'),
  tarEntry({ name: 'deep/er/not described' }, Buffer.alloc(300_001, 'n')),
  tarEntry({ name: 'none' }),
  tarEntry({ name: 'dev', type: '3', major: 1, minor: 3 }),
  tarEntry({ name: 'fifo', type: '6' }),
  paxHeader([['SCHILY.xattr.user.k', Buffer.from([0, 255])]]),
  tarEntry({ name: 'marked' }, 'x'.repeat(511)),
  tarEntry({ name: 'etc/.wh.gone' }, 'a whiteout with data'),
  tarEntry({ name: 'etc/.wh..wh..opq' }),
  gnuLong('L', `${'long/'.repeat(60)}name`),
  tarEntry({ name: 'cut', magic: 'gnu' }, Buffer.alloc(70_000, 'long')),
)

describe('the archive comes back', () => {
  const cases: readonly (readonly [string, Buffer])[] = [
    ['all kinds of entries', zoo],
    ['an empty archive', tarArchive()],
    ['no archive', Buffer.alloc(0)],
    ['what follows its end', Buffer.concat([zoo, Buffer.alloc(9_000), Buffer.alloc(300_000, 'trailing')])],
    ['no zero blocks at the end', zoo.subarray(0, -1024)],
    [
      'directories that are described twice',
      tarArchive(
        tarEntry({ name: 'd/', type: '5', mode: 0o700 }),
        tarEntry({ name: 'd/f' }, 'f'),
        tarEntry({ name: 'd/', type: '5', mode: 0o755 }),
        tarEntry({ name: 'l', type: '2', link: 'd' }),
        tarEntry({ name: 'l', type: '2', link: 'elsewhere' }),
        tarEntry({ name: 'empty' }),
        tarEntry({ name: 'empty' }, 'now with content'),
      ),
    ],
  ]
  test.each(cases)('%s', async (_, tar) => {
    const layer = await layerOf(fresh(), tar)
    expect(layer.result).toMatchObject({ lost: '', recordBytes: statSync(layer.record).size })
    expect((await packed(layer)).equals(tar)).toBe(true)
    expect(await verifyLayer(scope, deps, { ...layer, deep: layer.diffId })).toMatchObject({ problem: '' })
  })

  test.each(['--sparse-version=0.0', '--sparse-version=0.1', '--sparse-version=1.0', '--format=gnu'])(
    'a sparse file with %s',
    async (how) => {
      const g = fresh()
      const src = join(g.root, 'src')
      mkdirSync(src)
      writeFileSync(join(src, 's'), '')
      truncateSync(join(src, 's'), 3 << 20)
      appendFileSync(join(src, 's'), Buffer.alloc(5_000, 'data'))
      const format = how.startsWith('--format') ? [how] : ['--format=pax', how]
      const tar = execFileSync('tar', [...format, '-S', '-C', src, '-cf', '-', 's'])
      expect(tar.length).toBeLessThan(100_000)
      expect((await packed(await layerOf(g, tar))).equals(tar)).toBe(true)
    },
  )

  test('a record costs little disk: 20 000 files in less than 25 bytes each', async () => {
    const files = Array.from({ length: 20_000 }, (_, i) =>
      tarEntry({ name: `usr/share/d/file-${i}` }, `${i}`),
    )
    const layer = await layerOf(fresh(), tarArchive(...files))
    expect(layer.result.recordBytes).toBeLessThan(25 * 20_000)
  })
})

describe('what cannot come back is said', () => {
  test('an entry that replaced content: when unpacked, and by packing', async () => {
    const tar = tarArchive(tarEntry({ name: 'a/twice' }, 'first'), tarEntry({ name: 'a/twice' }, 'second'))
    const layer = await layerOf(fresh(), tar)
    expect(layer.result.lost).toBe('a/twice')
    const packing = packLayer(scope, deps, layer)
    await expect(buffer(packing.stdout)).rejects.toThrow(/'a\/twice': .*cannot be given back/)
    await expect(packing.result).rejects.toMatchObject({ kind: 'unsupported' })
    // It is still a good layer, and known to be one.
    expect(await verifyLayer(scope, deps, { ...layer, deep: layer.diffId })).toMatchObject({ whole: true })
  })

  test('a link that was replaced after content came through it', async () => {
    expect((await layerOf(fresh(), seedBlobs().links ?? zoo)).result.lost).toBe('l1')
  })

  test.each<readonly [string, (fs: string) => void, RegExp]>([
    ['a file that is gone', (fs) => rmSync(join(fs, 'none2')), /'none2': .*no longer has this file/],
    ['another size', (fs) => appendFileSync(join(fs, 'none2'), 'x'), /'none2': .*2 bytes, it was .*with 1/],
    ['another content', (fs) => writeFileSync(join(fs, 'none2'), 'y'), /content of a file has changed/],
    [
      'a link in its place',
      (fs) => {
        rmSync(join(fs, 'none2'))
        symlinkSync('/etc/passwd', join(fs, 'none2'))
      },
      /'none2'/,
    ],
  ])('%s', async (_, change, says) => {
    const layer = await layerOf(fresh(), tarArchive(tarEntry({ name: 'none2' }, 'x')))
    change(layer.fs)
    const packing = packLayer(scope, deps, layer)
    await expect(buffer(packing.stdout)).rejects.toThrow(says)
    await expect(packing.result).rejects.toMatchObject({ kind: 'corrupt' })
  })
})

describe('a tree that is not what it was', () => {
  const cases: readonly (readonly [string, (fs: string) => void, string])[] = [
    ['a missing file', (fs) => rmSync(join(fs, 'etc/motd')), 'etc/motd'],
    ['a missing hard link', (fs) => rmSync(join(fs, 'etc/hard')), 'etc/hard'],
    ['a missing whiteout', (fs) => rmSync(join(fs, 'etc/gone')), 'etc/gone'],
    ['a missing tree', (fs) => rmSync(join(fs, 'deep'), { recursive: true }), 'deep/er/not described'],
    ['a file cut short', (fs) => truncateSync(join(fs, 'marked'), 100), 'marked'],
    ['another mode', (fs) => chmodSync(join(fs, 'none'), 0o600), 'none'],
    ['a lost set-user-ID bit', (fs) => chmodSync(join(fs, 'etc/motd'), 0o755), 'etc/motd'],
    ['another owner', (fs) => chownSync(join(fs, 'etc'), 1, 8), 'etc'],
    ['another mode of the root', (fs) => chmodSync(fs, 0o755), ''],
    [
      'another type',
      (fs) => {
        rmSync(join(fs, 'fifo'))
        writeFileSync(join(fs, 'fifo'), '')
      },
      'fifo',
    ],
    [
      'another link',
      (fs) => {
        rmSync(join(fs, 'etc/soft'))
        symlinkSync('/etc/motd2', join(fs, 'etc/soft'))
      },
      'etc/soft',
    ],
  ]
  test.each(cases)('%s', async (_, change, path) => {
    const layer = await layerOf(fresh(), zoo)
    expect(await verifyLayer(scope, deps, layer)).toMatchObject({ whole: true, problem: '' })
    change(layer.fs)
    expect(await verifyLayer(scope, deps, layer)).toMatchObject({ whole: false, path })
  })

  test('a lost mark of an opaque directory', async () => {
    const tar = tarArchive(tarEntry({ name: 'd/', type: '5' }), tarEntry({ name: 'd/.wh..wh..opq' }))
    const layer = await layerOf(fresh(), tar)
    expect(await verifyLayer(scope, deps, layer)).toMatchObject({ whole: true, entries: 2 })
    rmdirSync(join(layer.fs, 'd'))
    mkdirSync(join(layer.fs, 'd'), { mode: 0o755 })
    expect(await verifyLayer(scope, deps, layer)).toMatchObject({
      path: 'd',
      problem: expect.stringMatching(/lost its mark/),
    })
  })

  test('content is compared only when asked for, times never', async () => {
    const layer = await layerOf(fresh(), zoo)
    writeFileSync(join(layer.fs, 'etc/motd'), 'HELLO')
    chmodSync(join(layer.fs, 'etc/motd'), 0o4755)
    utimesSync(join(layer.fs, 'none'), 1, 1)
    expect(await verifyLayer(scope, deps, layer)).toMatchObject({ whole: true })
    const deep = await verifyLayer(scope, deps, { ...layer, deep: layer.diffId })
    expect(deep).toMatchObject({ whole: false, problem: expect.stringMatching(/content of a file/) })
  })

  test('of entries over entries it is the last that counts', async () => {
    const layer = await layerOf(fresh(), seedBlobs().over ?? zoo)
    expect(await verifyLayer(scope, deps, layer)).toMatchObject({ whole: true })
    chmodSync(join(layer.fs, 'a'), 0o711)
    expect(await verifyLayer(scope, deps, layer)).toMatchObject({ whole: false, path: 'a' })
  })

  test('an access list that moves the bits of the mode is no difference', async () => {
    const acl = Buffer.from(
      '0200000001000600ffffffff02000700e803000004000400ffffffff10000700ffffffff20000400ffffffff',
      'hex',
    )
    const tar = tarArchive(
      paxHeader([['SCHILY.xattr.system.posix_acl_access', acl]]),
      tarEntry({ name: 'f', mode: 0o600 }, 'x'),
    )
    const layer = await layerOf(fresh(), tar)
    expect(statSync(join(layer.fs, 'f')).mode & 0o777).toBe(0o674)
    expect(await verifyLayer(scope, deps, layer)).toMatchObject({ whole: true, problem: '' })
  })

  test.each<readonly [string, (record: string) => void, RegExp]>([
    ['missing', (r) => rmSync(r), /No such file/],
    ['empty', (r) => truncateSync(r), /none that this program wrote/],
    ['cut short', (r) => truncateSync(r, statSync(r).size - 20), /cut short|damaged/],
    ['without its end mark', (r) => mark(r, 0), /not written to its end/],
    ['damaged', (r) => flipMiddle(r), /damaged|cut short/],
  ])('a record that is %s vouches for nothing', async (_, change, says) => {
    const layer = await layerOf(fresh(), zoo)
    change(layer.record)
    const verdict = await verifyLayer(scope, deps, layer)
    expect(verdict).toMatchObject({ whole: false, problem: expect.stringMatching(says) })
    const packing = packLayer(scope, deps, layer)
    await expect(buffer(packing.stdout)).rejects.toMatchObject({ kind: 'corrupt' })
  })
})

test('a reader that leaves ends the program, and so does kill', async () => {
  const layer = await layerOf(fresh(), tarArchive(tarEntry({ name: 'big' }, Buffer.alloc(4_000_000, 'b'))))
  const left = packLayer(scope, deps, layer)
  left.stdout.once('data', () => left.stdout.destroy())
  await expect(left.result).rejects.toThrow(/write the archive: Broken pipe/)
  const killed = packLayer(scope, deps, layer)
  killed.kill()
  await expect(killed.result).rejects.toMatchObject({ kind: 'cancelled' })
  await expect(buffer(killed.stdout)).rejects.toMatchObject({ kind: 'cancelled' })
})

test('a record is never written over another file', async () => {
  const g = fresh()
  writeFileSync(join(g.root, 'record'), 'mine')
  await expect(layerOf(g, zoo)).rejects.toThrow(/create the record .*File exists/)
  expect(readFileSync(join(g.root, 'record'), 'utf8')).toBe('mine')
})

function mark(record: string, flags: number): void {
  const bytes = readFileSync(record)
  bytes.writeUInt32LE(flags, 12)
  writeFileSync(record, bytes)
}

function flipMiddle(record: string): void {
  const bytes = readFileSync(record)
  const at = bytes.length >> 1
  bytes[at] = (bytes[at] ?? 0) ^ 0xff
  writeFileSync(record, bytes)
}

// SPDX-License-Identifier: Apache-2.0
/**
 * Image records on disk: `<root>/<id hex>.json`, one file an image, replaced whole, and beside it the exact bytes
 * of its configuration and manifest (`.config`, `.manifest`), which are there before the record is. Reading
 * never fails because of what a file holds: a damaged record is set aside as `.corrupt` and told. Knows nothing
 * of names and layers.
 */
import { createHash } from 'node:crypto'
import { mkdir, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { asFault } from '../../base/fault.ts'
import { placeFile, readJson, syncFolder, writeJson } from '../../base/json-file.ts'
import { type ImageBlobs, type ImageRecord, parseImageRecord } from '../../model/image.ts'
import { type Digest, digestOfHex, hexOf, type ImageId } from '../../model/reference.ts'

export interface RecordProblem {
  readonly file: string
  readonly why: string
}

export interface KeptBlobs {
  readonly config: Buffer
  readonly manifest: Buffer
}

export interface ImageRecords {
  /** All records, and what could not be read. What a crash left half-made is removed. @abort finishes */
  readAll(): Promise<{
    readonly records: readonly ImageRecord[]
    readonly problems: readonly RecordProblem[]
  }>
  /**
   * Durable when it returns, with the blobs if they are given; without `sync`, which is for new images, when the
   * file system has been synced: a power cut before leaves no image. @abort finishes
   */
  write(record: ImageRecord, how?: { readonly blobs?: ImageBlobs; readonly sync?: boolean }): Promise<void>
  /** Durable when it returns; success also if it is missing. @abort finishes */
  remove(id: ImageId): Promise<void>
  /** The bytes that were kept, if they are there and are what the record says. @abort finishes */
  blobs(record: ImageRecord): Promise<KeptBlobs | undefined>
}

const BLOB = /^[0-9a-f]{64}\.(?:config|manifest)$/

export function imageRecords(root: string): ImageRecords {
  const fileOf = (id: ImageId) => join(root, `${hexOf(id)}.json`)
  const blobFiles = (id: ImageId) =>
    [join(root, `${hexOf(id)}.config`), join(root, `${hexOf(id)}.manifest`)] as const
  /** Image → the manifest whose blobs are on disk: a pull that changes nothing writes none. */
  const kept = new Map<ImageId, Digest>()

  async function readOne(name: string): Promise<ImageRecord> {
    const read = await readJson(join(root, name))
    if (read.is !== 'value') throw new Error(read.is === 'corrupt' ? read.why : 'it vanished')
    const { image } = read.value
    if (typeof image !== 'object' || image === null) throw new Error('it holds no image')
    const record = parseImageRecord(Object.fromEntries(Object.entries(image)))
    if (`${hexOf(record.id)}.json` !== name) throw new Error(`it is the record of ${record.id}`)
    return record
  }

  return {
    async readAll() {
      await mkdir(root, { recursive: true, mode: 0o700 })
      const records: ImageRecord[] = []
      const problems: RecordProblem[] = []
      const names = (await readdir(root)).sort()
      for (const name of names) {
        if (name.endsWith('.tmp')) await rm(join(root, name), { force: true })
        if (!name.endsWith('.json')) continue
        try {
          records.push(await readOne(name))
        } catch (e) {
          if (await isEmpty(join(root, name))) {
            await rm(join(root, name))
            continue
          }
          const file = join(root, `${name}.corrupt`)
          problems.push({ file, why: asFault(e).message })
          await rename(join(root, name), file)
        }
      }
      const owned = new Set(records.map((record) => hexOf(record.id)))
      for (const name of names.filter((n) => BLOB.test(n)))
        if (!owned.has(name.slice(0, 64))) await rm(join(root, name), { force: true })
      return { records, problems }
    },
    async write({ local: _, ...image }, { blobs, sync = true } = {}) {
      if (blobs && kept.get(image.id) !== image.manifestDigest) {
        const [config, manifest] = blobFiles(image.id)
        await Promise.all([writeBlob(config, blobs.config, sync), writeBlob(manifest, blobs.manifest, sync)])
        kept.set(image.id, image.manifestDigest)
      }
      await writeJson(fileOf(image.id), { image }, { sync })
    },
    async remove(id) {
      kept.delete(id)
      await rm(fileOf(id), { force: true })
      await syncFolder(root)
      for (const file of blobFiles(id)) await rm(file, { force: true })
    },
    async blobs(record) {
      const [config, manifest] = await Promise.all(blobFiles(record.id).map(readIfThere))
      const whole = digestOf(config) === record.id && digestOf(manifest) === record.manifestDigest
      return whole && config && manifest ? { config, manifest } : undefined
    },
  }
}

/** The folder is synced with the record that follows. */
const writeBlob = (path: string, base64: string, sync: boolean): Promise<void> =>
  placeFile(path, Buffer.from(base64, 'base64'), { mode: 0o600, sync })

/** What a power cut leaves of a record that had not been synced. */
const isEmpty = async (path: string): Promise<boolean> => (await stat(path)).size === 0

const readIfThere = (path: string): Promise<Buffer | undefined> => readFile(path).catch(() => undefined)

function digestOf(bytes: Buffer | undefined): Digest | undefined {
  return bytes && digestOfHex(createHash('sha256').update(bytes).digest('hex'))
}

// SPDX-License-Identifier: Apache-2.0
/**
 * Image records on disk: `<root>/<id hex>.json`, one file an image, replaced whole. Reading never fails because
 * of what a file holds: a damaged one is set aside as `.corrupt` and told. Knows nothing of names and layers.
 */
import { mkdir, readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { asFault } from '../../base/fault.ts'
import { readJson, syncFolder, writeJson } from '../../base/json-file.ts'
import { type ImageRecord, parseImageRecord } from '../../model/image.ts'
import { hexOf, type ImageId } from '../../model/reference.ts'

export interface RecordProblem {
  readonly file: string
  readonly why: string
}

export interface ImageRecords {
  /** All records, and what could not be read. Temporary files of a crash are removed. @abort finishes */
  readAll(): Promise<{
    readonly records: readonly ImageRecord[]
    readonly problems: readonly RecordProblem[]
  }>
  /** Durable when it returns. @abort finishes */
  write(record: ImageRecord): Promise<void>
  /** Durable when it returns; success also if it is missing. @abort finishes */
  remove(id: ImageId): Promise<void>
  /** Takes a record out of use, but keeps the file for a person to look at. @abort finishes */
  setAside(id: ImageId): Promise<void>
}

export function imageRecords(root: string): ImageRecords {
  const fileOf = (id: ImageId) => join(root, `${hexOf(id)}.json`)

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
      for (const name of (await readdir(root)).sort()) {
        if (name.endsWith('.tmp')) await rm(join(root, name), { force: true })
        if (!name.endsWith('.json')) continue
        try {
          records.push(await readOne(name))
        } catch (e) {
          const file = join(root, `${name}.corrupt`)
          problems.push({ file, why: asFault(e).message })
          await rename(join(root, name), file)
        }
      }
      return { records, problems }
    },
    write: ({ local: _, ...image }) => writeJson(fileOf(image.id), { image }),
    async remove(id) {
      await rm(fileOf(id), { force: true })
      await syncFolder(root)
    },
    async setAside(id) {
      await rename(fileOf(id), `${fileOf(id)}.corrupt`)
      await syncFolder(root)
    },
  }
}

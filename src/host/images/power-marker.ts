// SPDX-License-Identifier: Apache-2.0
/**
 * PowerMarker: a file that is there while the daemon runs and says in which boot. Found at a start in another
 * boot, it means that the machine went down without the daemon's knowledge: a power failure, a crash, a reset.
 * The death of the daemon alone is none. The suspicion stays in the file until it has been cleared.
 */
import { rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { readJson, syncFolder, writeJson } from '../../base/json-file.ts'

export interface PowerMarker {
  /** True if what is on the disk is under suspicion. Durable when it returns. @abort finishes */
  begin(): Promise<boolean>
  /** All has been looked at. @abort finishes */
  trust(): Promise<void>
  /** The daemon ends in good order: takes the file away, unless the suspicion is still there. @abort finishes */
  end(): Promise<void>
}

export function powerMarker(path: string, bootId: string): PowerMarker {
  let suspect = false
  const write = () => writeJson(path, { bootId, suspect })
  return {
    async begin() {
      const read = await readJson(path)
      // A marker that cannot be read was being written: that is a power failure too.
      suspect =
        read.is === 'corrupt' ||
        (read.is === 'value' && (read.value.suspect === true || read.value.bootId !== bootId))
      const isSame = read.is === 'value' && read.value.bootId === bootId && read.value.suspect === suspect
      if (!isSame) await write()
      return suspect
    },
    async trust() {
      suspect = false
      await write()
    },
    async end() {
      if (suspect) return
      await rm(path, { force: true })
      await syncFolder(dirname(path))
    },
  }
}

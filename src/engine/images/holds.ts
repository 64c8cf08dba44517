// SPDX-License-Identifier: Apache-2.0
/** Holds: images that somebody reads, or makes a container from, without a record that says so yet. */
import type { ImageId } from '../../model/reference.ts'

export class Holds {
  readonly #counts = new Map<ImageId, number>()

  has(id: ImageId): boolean {
    return this.#counts.has(id)
  }

  /** `onRelease` is told when the last hold has gone. */
  hold(id: ImageId, onRelease: () => void): Disposable {
    this.#counts.set(id, (this.#counts.get(id) ?? 0) + 1)
    let open = true
    return {
      [Symbol.dispose]: () => {
        if (!open) return
        open = false
        const left = (this.#counts.get(id) ?? 1) - 1
        if (left > 0) this.#counts.set(id, left)
        else {
          this.#counts.delete(id)
          onRelease()
        }
      },
    }
  }
}

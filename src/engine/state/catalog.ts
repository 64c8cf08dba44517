// SPDX-License-Identifier: Apache-2.0
/**
 * The catalog: all pods and containers in memory, indexed by id, name and pod. Reads never wait; a write swaps
 * one immutable value. Owns the resolution of id prefixes and the waiters for a change. Does not touch the disk
 * (`store.ts`) and does not decide (`model/`).
 */
import { Fault } from '../../base/fault.ts'
import { abortFault, type Scope } from '../../base/scope.ts'
import { type Container, imagesOf } from '../../model/container.ts'
import { type ContainerId, clip, isIdPrefix, type PodId } from '../../model/ids.ts'
import { containerKey } from '../../model/names.ts'
import { keyOfPod, type Pod } from '../../model/pod.ts'

class Table<Id extends string, T> {
  readonly byId = new Map<Id, T>()
  /** Told of each value that is dropped. */
  onDrop: ((value: T) => void) | undefined
  /** Told of each change, before those who wait for it; undefined: there was none, there is none now. */
  onChange: ((before: T | undefined, after: T | undefined) => void) | undefined
  readonly #byKey = new Map<string, Id>()
  readonly #waiters = new Map<Id, Set<() => void>>()
  readonly #keyOf: (value: T) => string
  readonly #what: string

  constructor(what: string, keyOf: (value: T) => string) {
    this.#what = what
    this.#keyOf = keyOf
  }

  put(id: Id, value: T): void {
    const before = this.byId.get(id)
    this.byId.set(id, value)
    this.#byKey.set(this.#keyOf(value), id)
    this.onChange?.(before, value)
    this.#wake(id)
  }

  drop(id: Id): void {
    const value = this.byId.get(id)
    if (value === undefined) return
    this.byId.delete(id)
    const key = this.#keyOf(value)
    if (this.#byKey.get(key) === id) this.#byKey.delete(key)
    this.onChange?.(value, undefined)
    this.#wake(id)
    this.onDrop?.(value)
  }

  named(key: string): T | undefined {
    const id = this.#byKey.get(key)
    return id === undefined ? undefined : this.byId.get(id)
  }

  /** By id or unique prefix; undefined if none, `invalid` if several. */
  find(idOrPrefix: string): T | undefined {
    for (const [id, value] of this.byId) if (id === idOrPrefix) return value
    if (!isIdPrefix(idOrPrefix)) return undefined
    const hits = [...this.byId].filter(([id]) => id.startsWith(idOrPrefix))
    if (hits.length > 1) {
      throw new Fault(
        'invalid',
        `${this.#what} id "${clip(idOrPrefix)}" is ambiguous: ${hits.length} begin with it`,
      )
    }
    return hits[0]?.[1]
  }

  /** Waits until `test` holds of the value (undefined: it is gone). @abort stops */
  until(scope: Scope, id: Id, test: (value: T | undefined) => boolean): Promise<void> {
    if (test(this.byId.get(id))) return Promise.resolve()
    return new Promise((resolve, reject) => {
      const set = this.#waiters.get(id) ?? new Set()
      this.#waiters.set(id, set)
      const leave = () => {
        set.delete(look)
        if (set.size === 0) this.#waiters.delete(id)
        scope.signal.removeEventListener('abort', onAbort)
      }
      const look = () => {
        if (!test(this.byId.get(id))) return
        leave()
        resolve()
      }
      const onAbort = () => {
        leave()
        reject(abortFault(scope.signal))
      }
      if (scope.signal.aborted) return reject(abortFault(scope.signal))
      scope.signal.addEventListener('abort', onAbort, { once: true })
      set.add(look)
    })
  }

  #wake(id: Id): void {
    for (const look of [...(this.#waiters.get(id) ?? [])]) look()
  }
}

export interface Catalog {
  readonly pods: Table<PodId, Pod>
  readonly containers: Table<ContainerId, Container>
  /** Containers of a pod, in no order. */
  containersOf(pod: PodId): readonly Container[]
  /** The pod, or `not-found` that names it. */
  pod(idOrPrefix: string): Pod
  container(idOrPrefix: string): Container
  /** Is any container made from this image, or has it as a volume? */
  usesImage(imageId: string): boolean
}

export function catalog(): Catalog {
  const pods = new Table<PodId, Pod>('pod sandbox', (p) => keyOfPod(p.record))
  const containers = new Table<ContainerId, Container>('container', (c) =>
    containerKey(c.record.pod, c.record.config.metadata),
  )
  return {
    pods,
    containers,
    containersOf: (pod) => [...containers.byId.values()].filter((c) => c.record.pod === pod),
    pod(id) {
      const found = pods.find(id)
      if (!found) throw new Fault('not-found', `pod sandbox "${clip(id)}" is unknown`)
      return found
    },
    container(id) {
      const found = containers.find(id)
      if (!found) throw new Fault('not-found', `container "${clip(id)}" is unknown`)
      return found
    },
    usesImage: (imageId) => [...containers.byId.values()].some((c) => imagesOf(c.record).includes(imageId)),
  }
}

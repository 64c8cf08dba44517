// SPDX-License-Identifier: Apache-2.0
/**
 * fake-host-steps: where a test makes something happen. Every call that the engine makes of the fake host is a
 * step with a name; a step can be told to fail before or after it acts, to hang until it is aborted, to come
 * with its result after the abort, or to be the moment at which the daemon dies. Owns no world: see fake-host.
 */
import { Fault } from '../../src/base/fault.ts'
import { abortFault, type Scope } from '../../src/base/scope.ts'

/** What an abort does to the verb: the tag in `src/host/index.ts`; `sync` verbs answer at once. */
export type StepKind = 'finishes' | 'kills' | 'stops' | 'sync'

export type Mode = 'before' | 'after' | 'hang' | 'late' | 'die-before' | 'die-middle' | 'die-after'

export interface StepCall {
  /** `files.write config.json#2`: the second such call since the last `record()`. */
  readonly key: string
  readonly kind: StepKind
  /** The verb can be interrupted half-way: `die-middle` means something. */
  readonly hasMiddle: boolean
}

/** What a step is given to act with: `middle` is where a death may find it half done. */
type Act<T> = (middle: () => Promise<void>) => T | Promise<T>

const never = () => new Promise<never>(() => {})

/** Thrown by a step that cannot wait when the daemon is dead; all that follows it hangs for ever. */
class Dead extends Error {}

export class Steps {
  readonly #faults = new Map<string, Mode>()
  #calls: StepCall[] = []
  #seen = new Map<string, number>()
  #inFlight = 0
  #dead = false
  #onDeath: () => void = () => {}
  #onReached: () => void = () => {}
  #release: () => void = () => {}
  #released: Promise<void> = Promise.resolve()

  /** Resolves when the daemon has died at a step. */
  readonly died = new Promise<void>((resolve) => {
    this.#onDeath = resolve
  })
  /** Resolves when a step with mode `hang` or `late` has begun. */
  reached: Promise<void> = never()

  get dead(): boolean {
    return this.#dead
  }
  /** Something was to go wrong: a release out of order may be the consequence. */
  get faulty(): boolean {
    return this.#faults.size > 0
  }
  get calls(): readonly StepCall[] {
    return this.#calls
  }
  get inFlight(): number {
    return this.#dead ? 0 : this.#inFlight
  }

  /** Forgets the calls so far and makes the next ones do this. */
  record(faults: Readonly<Record<string, Mode>> = {}): void {
    this.#calls = []
    this.#seen = new Map()
    this.#faults.clear()
    for (const [key, mode] of Object.entries(faults)) this.#faults.set(key, mode)
    this.reached = new Promise((resolve) => {
      this.#onReached = resolve
    })
    this.#released = new Promise((resolve) => {
      this.#release = resolve
    })
  }

  /** Ends the wait of a step that hangs or comes late, for verbs whose own scope does not end. */
  release(): void {
    this.#release()
  }

  /** The daemon dies now: every step that runs or comes hangs for ever. */
  die(): void {
    this.#dead = true
    this.#onDeath()
  }

  sync<T>(name: string, act: () => T): T {
    if (this.#dead) throw new Dead('the daemon is dead')
    const { key, mode } = this.#note(name, 'sync')
    if (mode === 'before') throw injected(key)
    if (mode === 'die-before') this.#dieSync()
    const value = act()
    if (mode === 'after') throw injected(key)
    if (mode === 'die-after') this.#dieSync()
    return value
  }

  async step<T>(
    name: string,
    how: { kind: 'finishes' | 'kills' | 'stops'; scope?: Scope; middle?: boolean },
    act: Act<T>,
  ): Promise<T> {
    if (this.#dead) return never()
    const { key, mode } = this.#note(name, how.kind, how.middle)
    this.#inFlight++
    try {
      if (mode === 'before') throw injected(key)
      if (mode === 'die-before') return await this.#die()
      if (mode === 'hang' || mode === 'late') await this.#wait(mode, key, how)
      const value = await act(async () => {
        if (mode === 'die-middle') await this.#die()
      })
      if (mode === 'after') throw injected(key)
      if (mode === 'die-after' || this.#dead) return await this.#die()
      return value
    } catch (e) {
      if (this.#dead) return never()
      throw e
    } finally {
      this.#inFlight--
    }
  }

  /** Waits for the end of the verb's scope, or of the test's patience. */
  async #wait(mode: 'hang' | 'late', key: string, how: { scope?: Scope }): Promise<void> {
    this.#onReached()
    const { promise, resolve } = Promise.withResolvers<void>()
    const signal = how.scope?.signal
    signal?.addEventListener('abort', () => resolve(), { once: true })
    if (signal?.aborted) resolve()
    await Promise.race([promise, this.#released])
    if (this.#dead) return never()
    if (mode === 'late') return
    if (signal?.aborted) throw abortFault(signal)
    throw new Fault('timeout', `injected: ${key} did not answer`)
  }

  #note(name: string, kind: StepKind, hasMiddle = false): { key: string; mode: Mode | undefined } {
    const count = (this.#seen.get(name) ?? 0) + 1
    this.#seen.set(name, count)
    const key = `${name}#${count}`
    this.#calls.push({ key, kind, hasMiddle })
    return { key, mode: this.#faults.get(key) }
  }

  #die(): Promise<never> {
    this.die()
    return never()
  }

  #dieSync(): never {
    this.die()
    throw new Dead('the daemon is dead')
  }
}

function injected(key: string): Fault {
  return new Fault('internal', `injected: ${key}`)
}

/** The ways in which a step can go wrong while the daemon lives. */
export function faultModes(call: StepCall): readonly Mode[] {
  if (call.kind === 'sync') return ['before', 'after']
  // A verb that finishes whatever happens has no other way to hang than to be late.
  return call.kind === 'finishes' ? ['before', 'after', 'late'] : ['before', 'after', 'hang', 'late']
}

/** The moments of a step at which the daemon can die. */
export function deathModes(call: StepCall): readonly Mode[] {
  return call.hasMiddle ? ['die-before', 'die-middle', 'die-after'] : ['die-before', 'die-after']
}

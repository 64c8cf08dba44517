// SPDX-License-Identifier: Apache-2.0
/**
 * scenario-refusal: a call that has to fail, as the client sees it: the gRPC code by name and the sentence. A call
 * that succeeds is the test's failure.
 */
import { Fault } from '../../src/base/fault.ts'
import { codeOf, status } from './cri-client.ts'

export interface Refusal {
  /** `INVALID_ARGUMENT` and the like. */
  readonly code: string
  readonly details: string
}

/** The code and the sentence of a failed call; undefined if it succeeded. Another error is thrown on. */
export async function outcomeOf(call: Promise<unknown>): Promise<Refusal | undefined> {
  try {
    await call
    return undefined
  } catch (e) {
    // What our own client makes of it.
    if (e instanceof Fault) return { code: e.kind.toUpperCase(), details: e.message }
    const code = codeOf(e)
    const details: unknown = e instanceof Error ? Reflect.get(e, 'details') : undefined
    if (code === undefined || typeof details !== 'string') throw e
    return { code: status[code] ?? String(code), details }
  }
}

/** Rejects when the call succeeds. */
export async function refusalOf(call: Promise<unknown>): Promise<Refusal> {
  const refusal = await outcomeOf(call)
  if (refusal === undefined) throw new Error('the call succeeded, but had to be refused')
  return refusal
}

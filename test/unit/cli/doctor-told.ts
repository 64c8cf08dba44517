// SPDX-License-Identifier: Apache-2.0
/** doctor-told: what the tests of doctor ask of a list of checks. */
import { expect } from 'vitest'
import type { Check } from '../../../src/cli/doctor/view.ts'

/** What is not ok, as `verdict name: text`. */
export const told = (checks: readonly Check[]): string[] =>
  checks.filter((c) => c.verdict !== 'ok').map((c) => `${c.verdict} ${c.name}: ${c.text}`)

/** Each check has a sentence, and a remedy if and only if it is not ok. */
export function expectSound(checks: readonly Check[]): void {
  for (const c of checks) {
    expect(c.text, c.name).not.toBe('')
    expect(c.remedy === '', `${c.name} has a remedy if and only if it is not ok`).toBe(c.verdict === 'ok')
    expect(c.text, c.name).not.toMatch(/\n|undefined|\[object/)
  }
}

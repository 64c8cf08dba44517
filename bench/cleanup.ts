// SPDX-License-Identifier: Apache-2.0
/** Cleanup: what must be undone at the end of a run, whatever happened in it. */

/** What must be undone at the end, newest first. One that fails does not stop the others. */
export class Cleanup {
  readonly #steps: { what: string; act: () => Promise<void> }[] = []
  readonly problems: string[] = []

  later(what: string, act: () => Promise<void>): void {
    this.#steps.push({ what, act })
  }

  async run(): Promise<void> {
    for (let step = this.#steps.pop(); step; step = this.#steps.pop()) {
      await step.act().catch((error: unknown) => this.problems.push(`${step?.what}: ${String(error)}`))
    }
  }
}

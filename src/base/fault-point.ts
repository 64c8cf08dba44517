// SPDX-License-Identifier: Apache-2.0
/**
 * Fault points: named places at the boundaries of acts, where the crash and fault suites make something happen.
 * In production the hook is absent and a point costs one comparison. Names are `work:act:before|after`.
 */

export type FaultHook = (name: string) => void | Promise<void>

let hook: FaultHook | undefined

/** Installs (or, with undefined, removes) the hook. Only `main.ts` and tests call it. */
export function setFaultHook(next: FaultHook | undefined): void {
  hook = next
}

/** Passes a point. What the hook throws is the act's failure. */
export async function faultPoint(name: string): Promise<void> {
  if (hook) await hook(name)
}

/**
 * The hook for `GANTRY_FAULT`, a comma-separated list of `name=action`: `kill` (SIGKILL to this process, the
 * first time only by nature), `error`, or `delay:MILLISECONDS`. Unknown actions throw at once.
 */
export function hookFromEnvironment(
  text: string,
  effects: { kill: () => void; fail: (name: string) => never },
): FaultHook {
  const table = new Map<string, (name: string) => void | Promise<void>>()
  for (const entry of text.split(',').filter((e) => e !== '')) {
    const [name = '', action = ''] = entry.split('=')
    if (action === 'kill') table.set(name, () => effects.kill())
    else if (action === 'error') table.set(name, (n) => effects.fail(n))
    else if (/^delay:\d+$/.test(action)) {
      const ms = Number(action.slice(6))
      table.set(name, () => new Promise((resolve) => setTimeout(resolve, ms)))
    } else throw new Error(`GANTRY_FAULT: "${entry}" is not name=kill|error|delay:MS`)
  }
  return (name) => table.get(name)?.(name)
}

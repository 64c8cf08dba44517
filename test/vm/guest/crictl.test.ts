// SPDX-License-Identifier: Apache-2.0
/**
 * crictl with handler crun, end to end: the same steps as on the machine itself, where Debian's crun often refuses
 * to run. crictl is built outside (`../suite.ts`); where that was not possible every step is skipped by name.
 */
import { access, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, it } from 'vitest'
import { crictlProgram, makeCrictl } from '../../../conformance/crictl/crictl.ts'
import { type Step, stepNames, steps } from '../../../conformance/crictl/scenario.ts'
import { names } from '../../images/catalog.ts'
import { expectNoLeaks } from '../../support/leak-check.ts'
import type { Scenario } from '../../support/scenario.ts'
import { startGuestScenario } from './guest.ts'

const missing = await access(crictlProgram).then(
  () => undefined,
  () => 'crictl could not be built: Go is not installed',
)
const handler = 'crun'
let s: Scenario | undefined
let made: readonly Step[] = []

beforeAll(async () => {
  if (missing !== undefined) return
  s = await startGuestScenario({ images: [], pushed: [names.busybox] })
  const { socket, root, logs, cgroupParent } = s.workspace
  await mkdir(join(logs, handler))
  const crictl = await makeCrictl(socket, join(root, 'crictl'))
  const subject = { crictl, handler, image: names.busybox, runtimeName: 'gantry', cgroupParent }
  made = steps({ ...subject, logs: join(logs, handler) })
})
afterAll(() => s?.end((before) => expectNoLeaks(before, { withinMs: 10_000 })))

describe('crictl with handler crun', () => {
  for (const [index, title] of stepNames().entries())
    it(title, async ({ skip }) => {
      if (missing !== undefined) skip(missing)
      const step = made[index]
      if (step === undefined) throw new Error('the scenario was not started')
      await step.run()
    })
})

// SPDX-License-Identifier: Apache-2.0
/** The limits that a reload of systemd takes back: which are written again, when, and for whom. */
import { afterEach, beforeEach, expect, test } from 'vitest'
import { keepLimits } from '../../../src/engine/containers/keep-limits.ts'
import type { CgroupDriver } from '../../../src/model/names.ts'
import { noResources } from '../../../src/model/resources.ts'
import { createContainer, runPod } from '../../support/fake-host-requests.ts'
import { type TestWorld, testWorld } from '../../support/fake-host-world.ts'

let w: TestWorld
beforeEach(async () => {
  w = await testWorld()
})
afterEach(() => w.remove())

/** A running and an ended container under the driver; what is written for whom, and a way to reload. */
async function world(cgroupDriver: CgroupDriver) {
  const d = await w.boot()
  const pod = await d.engine.pods.run(d.scope(), runPod())
  const resources = {
    ...noResources,
    memoryLimitBytes: 64n << 20n,
    memorySwapLimitBytes: 64n << 20n,
    cpuQuota: 50_000n,
    unified: { 'memory.oom.group': '1' },
  }
  const [runs, ended] = await Promise.all(
    ['runs', 'ended'].map((name) =>
      d.engine.containers.create(
        d.scope(),
        createContainer(pod, { resources, metadata: { name, attempt: 0 } }),
      ),
    ),
  )
  for (const id of [runs, ended]) await d.engine.containers.start(d.scope(), id ?? '')
  await d.engine.containers.stop(d.scope(), { id: ended ?? '', graceMs: 0 })
  const written: string[] = []
  let reload = () => {}
  const { host } = d.ctx
  keepLimits({
    ...d.ctx,
    host: {
      ...host,
      facts: { ...host.facts, cgroupDriver },
      cgroups: {
        ...host.cgroups,
        onReset: (listener) => {
          reload = listener
        },
        limit: (path, limits) =>
          void written.push(`${path} ${limits.map((l) => `${l.file}=${l.value}`).join(' ')}`),
      },
    },
  })
  const settled = () => new Promise((resolve) => setTimeout(resolve, 20))
  await settled()
  const cgroup = d.ctx.catalog.container(runs ?? '').record.cgroup
  const end = async () => {
    await d.engine.pods.remove(d.scope(), pod)
    await w.expectEmpty(d)
  }
  const reloaded = () => {
    reload()
    return settled()
  }
  return { written, cgroup, reloaded, end }
}

test('at the start and after a reload, of what runs, what its runtime set beside systemd', async () => {
  const { written, cgroup, reloaded, end } = await world('systemd')
  const once = `${cgroup} memory.swap.max=0 memory.oom.group=1`
  expect(written).toEqual([once])
  await reloaded()
  expect(written).toEqual([once, once])
  await end()
})

test('with cgroupfs nothing is written', async () => {
  const { written, reloaded, end } = await world('cgroupfs')
  await reloaded()
  expect(written).toEqual([])
  await end()
})

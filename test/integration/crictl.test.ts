// SPDX-License-Identifier: Apache-2.0
/**
 * crictl end to end: the steps of `conformance/crictl/scenario.ts` against the daemon and a real registry on
 * loopback, once for the default handler and once for each other that this machine can run. Skipped, with the
 * reason, where Go is missing and crictl cannot be built.
 */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, it } from 'vitest'
import { buildTools, makeCrictl } from '../../conformance/crictl/crictl.ts'
import type { Step } from '../../conformance/crictl/scenario.ts'
import { stepNames, steps } from '../../conformance/crictl/scenario.ts'
import { ensureTestImages } from '../images/build.ts'
import { names } from '../images/catalog.ts'
import type { Daemon } from '../support/daemon.ts'
import { startDaemon } from '../support/daemon.ts'
import { cgroupMounts } from '../support/host-view.ts'
import type { Snapshot } from '../support/leak-check.ts'
import { expectNoLeaks, snapshot, withoutDaemon } from '../support/leak-check.ts'
import type { Registry } from '../support/registry.ts'
import { hostsOf, startRegistry, writeHostsToml } from '../support/registry.ts'
import type { Workspace } from '../support/workspace.ts'
import { cgroupfs, makeWorkspace } from '../support/workspace.ts'

/** First use of Go compiles everything crictl needs. */
const buildMs = 300_000
const cannotBuild = await buildTools('crictl')
/** Debian's crun runs on a machine with one cgroup hierarchy only. */
const hybrid = (await cgroupMounts()).length > 1

function reasonAgainst(handler: string): string | undefined {
  if (cannotBuild !== undefined) return cannotBuild
  return handler === 'crun' && hybrid ? 'crun refuses to run where cgroups are v1 and v2 at once' : undefined
}

const subject = { image: names.busybox, runtimeName: 'gantry' }
const titles = stepNames()

describe('crictl', () => {
  let workspace: Workspace | undefined
  let registry: Registry | undefined
  let daemon: Daemon | undefined
  let before: Snapshot | undefined

  beforeAll(async () => {
    if (cannotBuild !== undefined) return
    const layout = await ensureTestImages()
    registry = await startRegistry()
    await registry.pushLayout(layout, [subject.image])
    workspace = await makeWorkspace({ config: cgroupfs })
    await writeHostsToml(workspace.certs, hostsOf([subject.image]), registry.url)
    daemon = await startDaemon(workspace)
    before = await snapshot(workspace.leakScope({ daemonPid: daemon.pid }))
  }, buildMs)

  afterAll(async () => {
    try {
      if (before !== undefined) await expectNoLeaks(before)
      await daemon?.stop()
      if (before !== undefined) await expectNoLeaks(withoutDaemon(before))
    } finally {
      await workspace?.remove()
      await registry?.stop()
    }
  })

  for (const handler of ['', 'runc', 'crun'])
    describe(`handler ${JSON.stringify(handler)}`, () => {
      let made: readonly Step[] | undefined
      for (const [index, title] of titles.entries())
        it(title, async ({ skip }) => {
          const against = reasonAgainst(handler)
          if (against !== undefined) skip(against)
          if (workspace === undefined) throw new Error('the workspace was not made')
          const { root, socket, cgroupParent } = workspace
          const logs = join(workspace.logs, handler === '' ? 'default' : handler)
          await mkdir(logs, { recursive: true })
          const crictl = await makeCrictl(socket, join(root, `crictl-${handler}`))
          made ??= steps({ ...subject, crictl, handler, cgroupParent, logs })
          await made[index]?.run()
        })
    })
})

// SPDX-License-Identifier: Apache-2.0
/** SELinux through the engine: which files are relabelled for a container, and the level that its pod keeps. */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { MountRequest } from '../../../src/model/container.ts'
import { createContainer, runPod, security } from '../../support/fake-host-requests.ts'
import { Steps } from '../../support/fake-host-steps.ts'
import { type Daemon, type TestWorld, testWorld } from '../../support/fake-host-world.ts'

const selinux = {
  processContext: 'system_u:system_r:container_t:s0',
  fileContext: 'system_u:object_r:container_file_t:s0',
}

let w: TestWorld
beforeEach(async () => {
  w = await testWorld()
  for (const name of ['asked', 'plain']) await mkdir(join(w.dir, name))
})
afterEach(() => w.remove())

const mount = (name: string, selinuxRelabel: boolean): MountRequest => ({
  containerPath: `/${name}`,
  hostPath: join(w.dir, name),
  readonly: false,
  recursiveReadOnly: false,
  selinuxRelabel,
  propagation: 'private',
})
const relabelled = (d: Daemon) =>
  d.steps.calls
    .filter((c) => c.key.startsWith('security.relabel '))
    .map((c) => c.key.slice('security.relabel '.length).replace(/#\d+$/, ''))
    .sort()

async function create(d: Daemon, privileged = false): Promise<string> {
  const pod = await d.engine.pods.run(d.scope(), runPod({ privileged }))
  const request = createContainer(pod, {
    mounts: [mount('asked', true), mount('plain', false)],
    security: { ...security, privileged },
  })
  await d.engine.containers.create(d.scope(), request)
  return pod
}

test('the pod’s own files and the mounts that ask for it are relabelled, others are not', async () => {
  const d = await w.boot(new Steps(), { selinux })
  const pod = await create(d)
  expect(relabelled(d)).toEqual(['asked', 'hostname', 'hosts', 'resolv.conf', 'rootfs', 'shm'])
  const { selinuxLevel } = d.engine.pods.get(pod).record
  expect(selinuxLevel).toMatch(/^s0:c\d+,c\d+$/)
  await d.idle()
  const after = await w.boot(new Steps(), { selinux })
  expect(after.engine.pods.get(pod).record.selinuxLevel).toBe(selinuxLevel)
})

test('nothing is relabelled for a privileged container, nor without SELinux', async () => {
  const privileged = await w.boot(new Steps(), { selinux })
  const pod = await create(privileged, true)
  expect(relabelled(privileged)).toEqual([])
  await privileged.engine.pods.remove(privileged.scope(), pod)
  const off = await w.boot(new Steps())
  const plain = await create(off)
  expect(relabelled(off)).toEqual([])
  expect(off.engine.pods.get(plain).record.selinuxLevel).toBeUndefined()
})

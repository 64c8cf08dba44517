// SPDX-License-Identifier: Apache-2.0
/**
 * The volumes that an image declares: in a container with a read-only rootfs they are what is writable, with the
 * files, owners and modes of the image, its own, and hidden by what the request mounts. Links in the image lead
 * nowhere else.
 */
import { existsSync } from 'node:fs'
import { mkdir, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { names } from '../images/catalog.ts'
import type { RunningPod } from '../support/cri-requests.ts'
import { expectNoLeaks } from '../support/leak-check.ts'
import { type Scenario, startScenario } from '../support/scenario.ts'
import { type ContainerFields, kept, ran } from '../support/scenario-run.ts'

const image = { image: { image: names.volumes } }
const readonly = { ...image, linux: { securityContext: { readonlyRootfs: true } } }
const OUTSIDE = '/tmp/gt-volume-outside'

let s: Scenario
let pod: RunningPod
const ended = async (script: string, fields: ContainerFields = {}) =>
  (await ran(s, pod, script, { ...readonly, ...fields })).stdout

beforeAll(async () => {
  s = await startScenario({ images: [names.volumes] })
  pod = await s.pod('volumes')
})
afterAll(() => s?.end((before) => expectNoLeaks(before)))

describe('with a read-only rootfs a volume', () => {
  it('has the files, owner and mode of the image, and may be written', async () => {
    const script =
      'stat -c %u:%g:%a /data /data/file; cat /data/file; echo x >/data/new; cat /data/new; echo x >/x || echo no'
    expect(await ended(script)).toBe('33:44:2770\n33:44:640\nof the image\nx\nno\n')
  })

  it('may be written by its owner only', async () => {
    const as = (uid: bigint, gid: bigint) => ({
      ...image,
      linux: {
        securityContext: { readonlyRootfs: true, runAsUser: { value: uid }, runAsGroup: { value: gid } },
      },
    })
    const script = 'echo more >>/data/file && tail -1 /data/file || echo no'
    expect(await ended(script, as(33n, 44n))).toBe('more\n')
    expect(await ended(script, as(34n, 45n))).toBe('no\n')
  })

  it('is the container’s own, and goes with it', async () => {
    const one = await kept(s, pod, readonly)
    await one.sh('echo mine >/data/file')
    expect(await ended('cat /data/file')).toBe('of the image\n')
    const folder = join(s.workspace.state, 'containers', one.id)
    expect(existsSync(join(folder, 'upper/data/file'))).toBe(true)
    const { status } = await s.client.call('ContainerStatus', { containerId: one.id })
    expect(status?.mounts ?? []).toEqual([])
    await s.client.call('RemoveContainer', { containerId: one.id })
    expect(existsSync(folder)).toBe(false)
  })

  it('that the image does not have is made', async () => {
    expect(
      await ended(
        'stat -c %u:%g:%a /absent /absent/deep /bare; echo x >/absent/deep/x; echo x >/absent/x || echo no',
      ),
    ).toBe('0:0:755\n0:0:755\n0:0:755\nno\n')
  })

  it('behind a link is where the link leads, inside', async () => {
    expect(existsSync(OUTSIDE)).toBe(false)
    const script = `echo 1 >/linked/a; cat /real/a; echo 2 >/out/b; cat ${OUTSIDE}/b; echo 3 >/nowhere/c; cat /made/by/link/c`
    expect(await ended(script)).toBe('1\n2\n3\n')
    expect(existsSync(OUTSIDE)).toBe(false)
  })

  it('leaves what every container has as it is', async () => {
    expect(
      await ended(
        'head -1 /proc/mounts | cut -c1-7; hostname | cmp - /etc/hostname && echo same; echo x >/etc/new && cat /etc/new',
      ),
    ).toBe('overlay\nsame\nx\n')
    expect(await ended('echo x >>/etc/hosts || echo no')).toBe('no\n')
  })

  it('is hidden by a mount of the request at its place or above, and holds one below', async () => {
    const dir = join(s.workspace.root, 'over')
    await mkdir(join(dir, 'deep'), { recursive: true })
    const at = (containerPath: string, hostPath = dir) => ({ mounts: [{ containerPath, hostPath }] })
    expect(await ended('echo x >/data/of-node; ls /data', at('/data'))).toBe('deep\nof-node\n')
    expect((await readdir(dir)).sort()).toEqual(['deep', 'of-node'])
    expect(await ended('ls /absent; echo y >/absent/deep/y', at('/absent'))).toBe('deep\nof-node\n')
    expect(await readdir(join(dir, 'deep'))).toEqual(['y'])
    expect(await ended('ls /data /data/below; echo z >/data/z && echo own', at('/data/below'))).toBe(
      '/data:\nbelow\nfile\n\n/data/below:\ndeep\nof-node\nown\n',
    )
    expect(await readdir(dir)).not.toContain('z')
  })
})

it('with a writable rootfs volumes are folders as others', async () => {
  const script =
    'stat -c %u:%g:%a /data /absent/deep; echo x >/absent/deep/x && echo y >/y && grep -c " /data " /proc/mounts'
  expect((await ran(s, pod, script, image)).stdout).toBe('33:44:2770\n0:0:755\n0\n')
})

it('in a user namespace volumes have the owners that the pod sees', async () => {
  const ids = [{ hostId: 700_000, containerId: 0, length: 65_536 }]
  const mapped = await s.pod('mapped', { bridged: true, userns: { mode: 0, uids: ids, gids: ids } })
  const linux = { securityContext: { readonlyRootfs: true } }
  const script = 'stat -c %u:%g:%a /data /absent /absent/deep; echo x >/absent/deep/x && cat /absent/deep/x'
  const { stdout } = await ran(s, mapped, script, { ...image, linux })
  expect(stdout).toBe('33:44:2770\n0:0:755\n0:0:755\nx\n')
  await mapped.remove()
})

describe('where the operator ignores volumes', () => {
  let other: Scenario
  beforeAll(async () => {
    other = await startScenario({ images: [names.volumes], config: { image_volumes: '"ignore"' } })
  })
  afterAll(() => other?.end((before) => expectNoLeaks(before)))

  it('they are folders of the image, read-only with its rootfs, and none is made', async () => {
    const p = await other.pod('ignored')
    const { stdout } = await ran(
      other,
      p,
      'ls /absent 2>/dev/null || echo none; echo x >/data/x || echo no',
      readonly,
    )
    expect(stdout).toBe('none\nno\n')
  })
})

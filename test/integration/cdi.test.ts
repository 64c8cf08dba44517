// SPDX-License-Identifier: Apache-2.0
/**
 * CDI devices end to end: what a spec says is in the container, by the field and by annotations, from the moment when
 * the spec is there; what cannot be had is refused by its name, and stops nobody else.
 */
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { waitUntil } from '../support/child.ts'
import type { RunningPod } from '../support/cri-requests.ts'
import { expectNoLeaks } from '../support/leak-check.ts'
import { type Scenario, startScenario } from '../support/scenario.ts'
import { refusalOf } from '../support/scenario-refusal.ts'
import { type ContainerFields, kept, ran } from '../support/scenario-run.ts'

let dir: string
let s: Scenario
let pod: RunningPod

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'gantry-cdi-'))
  s = await startScenario({ config: { cdi_spec_dirs: `["${dir}/etc", "${dir}/run"]` } })
  pod = await s.pod('devices')
  await mkdir(join(dir, 'etc'))
})
afterAll(async () => {
  await s?.end((before) => expectNoLeaks(before))
  await rm(dir, { recursive: true, force: true })
})

const put = (file: string, devices: Readonly<Record<string, object>>, containerEdits: object = {}) =>
  writeFile(
    join(dir, file),
    JSON.stringify({
      cdiVersion: '1.1.0',
      kind: 'vendor.test/dev',
      containerEdits,
      devices: Object.entries(devices).map(([name, containerEdits]) => ({ name, containerEdits })),
    }),
  )
const byField = (...devices: string[]): ContainerFields => ({
  CDIDevices: devices.map((d) => ({ name: `vendor.test/dev=${d}` })),
})
const ended = async (script: string, fields: ContainerFields) => (await ran(s, pod, script, fields)).stdout

describe('a device', () => {
  it('brings nodes, with the rights and owners that its spec says', async () => {
    const node = { hostPath: '/dev/loop-control', permissions: 'r' }
    await put('etc/nodes.json', {
      nodes: {
        deviceNodes: [
          { path: '/dev/vendor/a', ...node, fileMode: 0o640, uid: 5, gid: 6 },
          { path: '/dev/vendor/b', ...node },
          { path: '/dev/zeros', type: 'c', major: 1, minor: 5 },
        ],
      },
    })
    const script =
      'stat -c %F:%t:%T:%u:%g:%a /dev/vendor/a; stat -c %u:%g /dev/vendor/b; true </dev/vendor/a && echo read; true >/dev/vendor/a || echo no; head -c 2 /dev/zeros | wc -c'
    expect(await ended(script, byField('nodes'))).toBe(
      'character special file:a:ed:5:6:640\n0:0\nread\nno\n2\n',
    )
    const linux = { securityContext: { runAsUser: { value: 7n } } }
    expect(await ended('stat -c %u /dev/vendor/b', { ...byField('nodes'), linux })).toBe('7\n')
  })

  it('brings variables, groups and mounts, over those of the request', async () => {
    await mkdir(join(dir, 'lib'))
    await writeFile(join(dir, 'lib/driver'), 'driver\n')
    await put(
      'etc/edits.json',
      {
        edits: {
          env: ['VENDOR=device', 'OTHER=vendor'],
          additionalGids: [4444],
          mounts: [
            { hostPath: join(dir, 'lib/driver'), containerPath: '/opt/own/driver', options: ['bind', 'ro'] },
            { hostPath: 'tmpfs', containerPath: '/scratch', type: 'tmpfs', options: ['size=64k'] },
          ],
        },
      },
      { env: ['VENDOR=all'] },
    )
    const out = await ended(
      'echo $VENDOR $OTHER; id -G | grep -o 4444; cat /opt/own/driver; true >/opt/own/driver || echo no; echo x >/scratch/x && cat /scratch/x',
      { ...byField('edits'), envs: [{ key: 'OTHER', value: Buffer.from('request') }] },
    )
    expect(out).toBe('device vendor\n4444\ndriver\nno\nx\n')
  })

  it('brings hooks, which run at their times', async () => {
    const hook = join(dir, 'hook')
    await writeFile(hook, `#!/bin/sh\nread state\necho "$1 $OF $state" >>${dir}/ran\n`)
    await chmod(hook, 0o755)
    const at = (hookName: string) => ({
      hookName,
      path: hook,
      args: [hook, hookName],
      env: ['OF=us'],
      timeout: 10,
    })
    await put('etc/hooks.json', { hooks: { hooks: ['createRuntime', 'poststart', 'poststop'].map(at) } })
    const c = await kept(s, pod, byField('hooks'))
    const lines = async () => (await readFile(join(dir, 'ran'), 'utf8')).trim().split('\n')
    expect((await lines()).map((l) => l.split(' ', 2))).toEqual([
      ['createRuntime', 'us'],
      ['poststart', 'us'],
    ])
    expect((await lines())[0]).toContain(c.id)
    await s.client.call('StopContainer', { containerId: c.id, timeout: 0n })
    await waitUntil('the last hook has run', async () => (await lines()).length === 3, { withinMs: 10_000 })
    expect((await lines())[2]).toMatch(/^poststop us /)
  })

  it('is had by annotation too, and once if both name it', async () => {
    await put('etc/note.json', { a: { env: ['A=1'] }, b: { env: ['B=2'] } })
    const annotations = { 'cdi.k8s.io/plugin_1': 'vendor.test/dev=a,vendor.test/dev=b' }
    expect(await ended('echo $A $B', { annotations })).toBe('1 2\n')
    expect(await ended('echo $A $B', { ...byField('b'), annotations })).toBe('1 2\n')
  })

  it('counts from the moment when its spec is there, in the later folder above all', async () => {
    expect((await refusalOf(kept(s, pod, byField('late')))).details).toContain(
      `in no spec in ${dir}/etc, ${dir}/run`,
    )
    await put('etc/late.json', { late: { env: ['LATE=1'] } })
    expect(await ended('echo $LATE', byField('late'))).toBe('1\n')
    await mkdir(join(dir, 'run'))
    await writeFile(
      join(dir, 'run/late.yaml'),
      'cdiVersion: "0.6.0"\nkind: vendor.test/dev\ndevices:\n  - name: late\n    containerEdits: {env: [LATE=2]}\n',
    )
    expect(await ended('echo $LATE', byField('late'))).toBe('2\n')
    await rm(join(dir, 'run/late.yaml'))
    expect(await ended('echo $LATE', byField('late'))).toBe('1\n')
  })

  it('is there for a privileged container as well, beside the node’s own', async () => {
    const p = await s.pod('privileged', { privileged: true })
    await put('etc/more.json', {
      more: { deviceNodes: [{ path: '/dev/vendor-null', hostPath: '/dev/null' }] },
    })
    const linux = { securityContext: { privileged: true } }
    const { stdout } = await ran(s, p, 'ls /dev/vendor-null /dev/kmsg', { ...byField('more'), linux })
    expect(stdout).toBe('/dev/kmsg\n/dev/vendor-null\n')
    await p.remove()
  })
})

describe('what cannot be had', () => {
  it('is refused by name, with the file that may be at fault, and nothing is left', async () => {
    await writeFile(join(dir, 'etc/broken.json'), '{"cdiVersion": "1.0.0", "kind": "vendor.test/broken"')
    await put('etc/fine.json', { fine: { env: ['FINE=1'] }, gone: { deviceNodes: [{ path: '/dev/gone' }] } })
    const refused = async (name: string) => await refusalOf(kept(s, pod, { CDIDevices: [{ name }] }))
    expect(await refused('vendor.test/broken=0')).toMatchObject({
      code: 'INVALID_ARGUMENT',
      details: expect.stringMatching(
        /vendor\.test\/broken=0 is in no spec .*not usable are .*etc\/broken\.json/,
      ),
    })
    expect((await refused('vendor.test/dev=gone')).details).toContain('/dev/gone')
    expect((await refused('gone')).details).toContain('config.CDI_devices[0].name')
    expect(await ended('echo $FINE', byField('fine'))).toBe('1\n')
    await rm(join(dir, 'etc/broken.json'))
  })

  it('includes a device that two files of one folder have', async () => {
    await put('etc/twice-a.json', { twice: {} })
    await put('etc/twice-b.json', { twice: {} })
    const { details } = await refusalOf(kept(s, pod, byField('twice')))
    expect(details).toMatch(/twice-a\.json and .*twice-b\.json/)
  })
})

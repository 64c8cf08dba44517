// SPDX-License-Identifier: Apache-2.0
/**
 * What an operator gives a handler: a folder for the runtime's state, annotations that pass, a base spec, hooks that
 * run, and what is said of files that cannot be used.
 */
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { waitUntil } from '../support/child.ts'
import { expectNoLeaks } from '../support/leak-check.ts'
import { type Scenario, startScenario } from '../support/scenario.ts'
import { refusalOf } from '../support/scenario-refusal.ts'
import { kept, ran } from '../support/scenario-run.ts'

let s: Scenario
let at: string

beforeAll(async () => {
  at = await mkdtemp(join(tmpdir(), 'gt-options-'))
  await mkdir(join(at, 'hooks.d'))
  const base = {
    ociVersion: '1.0.2',
    process: { rlimits: [{ type: 'RLIMIT_CORE', soft: 4096, hard: 8192 }], user: { uid: 5 } },
    mounts: [{ destination: '/from-base', type: 'tmpfs', source: 'tmpfs', options: ['ro'] }],
  }
  await writeFile(join(at, 'base.json'), JSON.stringify(base))
  s = await startScenario({
    config: {
      'runtimes.mine.kind': '"runc"',
      'runtimes.mine.root': JSON.stringify(join(at, 'oci')),
      'runtimes.mine.annotations': '{ "of.handler" = "yes" }',
      'runtimes.mine.pod_annotations': '["io.pod.*"]',
      'runtimes.mine.container_annotations': '["io.c"]',
      'runtimes.mine.base_spec': JSON.stringify(join(at, 'base.json')),
      'runtimes.mine.hooks_dirs': JSON.stringify([join(at, 'hooks.d')]),
    },
  })
})
afterAll(async () => {
  await s?.end((before) => expectNoLeaks(before))
  await rm(at, { recursive: true, force: true })
})

const minePod = (name: string) =>
  s.pod(name, { handler: 'mine', annotations: { 'io.pod.a': 'p', 'io.other': 'p' } })

it('the spec has the annotations that may pass, and what the base brings', async () => {
  const pod = await minePod('annotated')
  const c = await kept(s, pod, { annotations: { 'io.c': 'c', 'io.d': 'd' } })
  const bundle = join(s.workspace.run, 'containers', c.id, 'bundle/config.json')
  const spec: { annotations: object } = JSON.parse(await readFile(bundle, 'utf8'))
  expect(spec.annotations).toEqual({ 'of.handler': 'yes', 'io.pod.a': 'p', 'io.c': 'c' })
  expect(await c.sh('id -u; ulimit -c; grep -c " /from-base tmpfs ro" /proc/mounts')).toBe('0\n8\n1\n')
  await pod.remove()
})

it('the runtime keeps its state in the folder that was given to it, and nothing of a pod stays there', async () => {
  const pod = await minePod('rooted')
  const c = await kept(s, pod)
  expect(await readdir(join(at, 'oci'))).toContain(c.id)
  await s.daemon.kill9()
  await s.daemon.restart()
  expect(await c.sh('echo found')).toBe('found\n')
  await pod.remove()
  expect(await readdir(join(at, 'oci'))).toEqual([])
})

it('hooks run for the containers that they match, with their arguments; a changed file counts at once', async () => {
  const script = join(at, 'hook.sh')
  await writeFile(script, `#!/bin/sh\ncat > "$1.part" && mv "$1.part" "$1"\n`)
  await chmod(script, 0o755)
  const file = (when: object) => {
    const hook = { path: script, args: ['hook', join(at, 'ran')] }
    return writeFile(
      join(at, 'hooks.d/h.json'),
      JSON.stringify({ version: '1.0.0', hook, when, stages: ['poststop'] }),
    )
  }
  const ranFor = async () => (JSON.parse(await readFile(join(at, 'ran'), 'utf8')) as { id: string }).id
  const pod = await minePod('hooked')
  await file({ annotations: { '^io\\.hook$': '^yes$' } })
  await ran(s, pod, 'true')
  const { id } = await ran(s, pod, 'true', { annotations: { 'io.hook': 'yes' } })
  await waitUntil('the hook has run', async () => (await ranFor().catch(() => '')) !== '', {
    withinMs: 10_000,
  })
  expect(await ranFor()).toBe(id)
  await file({ commands: ['^sh$'] })
  const next = await ran(s, pod, 'true')
  await waitUntil('it has run again', async () => (await ranFor()) === next.id, { withinMs: 10_000 })

  await writeFile(join(at, 'hooks.d/broken.json'), '{}')
  const refusal = await refusalOf(ran(s, pod, 'true'))
  expect(refusal).toEqual({
    code: 'INVALID_ARGUMENT',
    details: expect.stringContaining(`hook file ${join(at, 'hooks.d/broken.json')}: version`),
  })
  // Others have no hooks.
  const plain = await s.pod('plain')
  expect((await ran(s, plain, 'true')).status.exitCode).toBe(0)
  await plain.remove()
  await pod.remove()
})

it('a base spec that cannot be used keeps the daemon from starting, and is named', async () => {
  await s.removePods()
  await s.daemon.kill9()
  await writeFile(join(at, 'base.json'), '{"mounts": 1}')
  await expect(s.daemon.restart()).rejects.toThrow(`base_spec ${join(at, 'base.json')}: mounts`)
  await writeFile(join(at, 'base.json'), '{}')
  await s.daemon.restart()
})

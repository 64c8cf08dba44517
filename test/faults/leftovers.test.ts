// SPDX-License-Identifier: Apache-2.0
/**
 * Making fails at its last step, and then the release of something fails too. The first error is the one that is
 * told; what could not be released stays on record, invisible; a retry, a Remove or the next daemon finishes it.
 */
import { describe, expect, test } from 'vitest'
import { faultModes, type Mode } from '../support/fake-host-steps.ts'
import type { Daemon, TestWorld } from '../support/fake-host-world.ts'
import { callWith, expectWhole, reboot, removeAll, type Verb, withWorld } from './bench.ts'
import { createVerb, type Made, podIds, runPodVerb } from './verbs.ts'

/** The steps by which a making that fails at its last step is undone. */
async function releasesOf(verb: Verb<Made>, commit: string) {
  return await withWorld(async (w) => {
    const d = await w.boot()
    const made = await verb.prepare(d, w)
    await d.idle()
    await callWith(d, { [commit]: 'after' }, (scope) => verb.call(d, scope, made, w))
    const { calls } = d.steps
    return calls.slice(calls.findIndex((c) => c.key === commit) + 1)
  })
}

const cases = await Promise.all(
  // What a pull leaves is nobody's leftover: the collector takes it, see images.test.ts.
  [runPodVerb, createVerb].map(async (verb) => {
    const commit = verb.commit ?? ''
    const at = (await releasesOf(verb, commit)).flatMap((call) =>
      faultModes(call)
        .filter((m) => m !== 'late')
        .map((mode) => ({ key: call.key, mode })),
    )
    return { verb, commit, at }
  }),
)

interface Failed {
  readonly d: Daemon
  readonly w: TestWorld
  readonly made: Made
  readonly before: readonly string[]
}

/** The making fails, with more faults on its way back, and `then` goes on from there. */
async function failed(
  { verb, commit }: { verb: Verb<Made>; commit: string },
  more: Readonly<Record<string, Mode>>,
  then: (f: Failed) => Promise<void>,
): Promise<void> {
  await withWorld(async (w) => {
    const d = await w.boot()
    const made = await verb.prepare(d, w)
    await d.idle()
    const before = w.lines()
    const call = (scope: Parameters<typeof verb.call>[1]) => verb.call(d, scope, made, w)
    const fault = await callWith(d, { [commit]: 'after', ...more }, call)
    expect(fault?.message).toContain(`injected: ${commit}`)
    const phases = [...d.ctx.catalog.pods.byId.values(), ...d.ctx.catalog.containers.byId.values()]
    expect(phases.map((x) => x.state.phase)).not.toContain('creating')
    expect(d.ctx.locks.held()).toEqual([])
    d.steps.record()
    await then({ d, w, made, before })
  })
}

const idsOf = (d: Daemon) => {
  const left = (x: { state: { phase: string } }) => x.state.phase === 'leftover'
  return {
    pods: [...d.ctx.catalog.pods.byId.values()].filter(left).map((p) => p.record.id),
    containers: [...d.ctx.catalog.containers.byId.values()].filter(left).map((c) => c.record.id),
  }
}

describe.each(cases)('$verb.name', ({ verb, commit, at }) => {
  test('has releases that can fail', () => {
    expect(at.length).toBeGreaterThan(5)
  })

  test.each(at)('$key $mode, then a retry', async ({ key, mode }) => {
    await failed({ verb, commit }, { [key]: mode }, async ({ d, w, made }) => {
      await verb.call(d, d.scope(), made, w)
      await d.idle()
      expectWhole(d)
      await verb.succeeded(d, made, w)
      await removeAll(d, podIds(d))
      await w.expectEmpty(d)
    })
  })

  test.each(at)('$key $mode, then Remove', async ({ key, mode }) => {
    await failed({ verb, commit }, { [key]: mode }, async ({ d, w, before }) => {
      expect(d.engine.problems().length).toBe(idsOf(d).pods.length + idsOf(d).containers.length)
      for (const id of idsOf(d).containers) await d.engine.containers.remove(d.scope(), id)
      for (const id of idsOf(d).pods) await d.engine.pods.remove(d.scope(), id)
      await d.idle()
      expect(w.lines()).toEqual(before)
      expectWhole(d)
      await removeAll(d, podIds(d))
      await w.expectEmpty(d)
    })
  })

  test.each(at)('$key $mode, then the next daemon', async ({ key, mode }) => {
    await failed({ verb, commit }, { [key]: mode }, async ({ d, w, before }) => {
      const next = await reboot(w, d)
      expect(w.lines()).toEqual(before)
      expectWhole(next)
      await removeAll(next, podIds(next))
      await w.expectEmpty(next)
    })
  })

  test('also when what is left over cannot be written down', async () => {
    const [release] = at.filter((a) => a.key.startsWith(verb.name === 'RunPodSandbox' ? 'cgroups' : 'rootfs'))
    const write = verb.name === 'RunPodSandbox' ? 'store.putPod leftover#1' : 'store.putContainer leftover#1'
    await failed(
      { verb, commit },
      { [release?.key ?? '']: 'before', [write]: 'before' },
      async ({ d, w, made }) => {
        await verb.call(d, d.scope(), made, w)
        await d.idle()
        await verb.succeeded(d, made, w)
        await removeAll(d, podIds(d))
        await w.expectEmpty(d)
      },
    )
  })
})

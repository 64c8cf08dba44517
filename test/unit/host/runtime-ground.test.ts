// SPDX-License-Identifier: Apache-2.0
/**
 * A runtime that cannot work on this machine's cgroups is known before it is asked for a pod: left out with the
 * reason, and an error of the start if it is the default one.
 */
import { describe, expect, it } from 'vitest'
import { Fault } from '../../../src/base/fault.ts'
import { silent } from '../../../src/base/log.ts'
import { type FactsOptions, probeFacts } from '../../../src/host/facts.ts'
import { checkGround } from '../../../src/host/oci-runtime/features.ts'
import type { HandlerFacts, RuntimeKind } from '../../../src/model/facts.ts'

const scope = { signal: new AbortController().signal, log: silent }
const program = (kind: RuntimeKind) => ({ handler: `my-${kind}`, kind, path: `/usr/bin/${kind}` })

describe('hybrid cgroups', () => {
  const ground = { hybridControllers: ['hugetlb', 'misc'] }

  it('are refused for crun, with handler, controllers and remedy', () => {
    const refuse = () => checkGround(program('crun'), ground)
    expect(refuse).toThrow(expect.objectContaining({ kind: 'unsupported', reason: 'hybrid-cgroups' }))
    expect(refuse).toThrow(
      /handler my-crun: crun .*hybrid.* hugetlb, misc: .*unified_cgroup_hierarchy=1.*another handler/,
    )
  })

  it.each(['runc', 'runsc'] as const)('do not matter to %s', (kind) => {
    expect(() => checkGround(program(kind), ground)).not.toThrow()
  })

  it('without a controller in the second tree are fine for crun', () => {
    expect(() => checkGround(program('crun'), { hybridControllers: [] })).not.toThrow()
  })
})

describe('a handler that fails its probe', () => {
  const handler = (name: string): HandlerFacts => ({
    name,
    ociVersion: '1.0.2',
    version: '1',
    recursiveReadOnlyMounts: false,
    idmapMounts: false,
    userNamespaces: true,
    seccomp: true,
    apparmor: false,
  })
  const options = (broken: Fault, defaultRuntime: string): FactsOptions => ({
    cgroupDriver: 'cgroupfs',
    runtimes: [program('runc'), program('crun')],
    defaultRuntime,
    probe: async (_scope, { handler: name, kind }) => {
      if (kind === 'crun') throw broken
      return handler(name)
    },
  })

  it('is left out with the reason, and with what to install if that is what is wrong', async () => {
    const absent = await probeFacts(
      scope,
      options(new Fault('unavailable', 'my-crun does not run'), 'my-runc'),
    )
    expect(Object.keys(absent.handlers)).toEqual(['my-runc'])
    expect(absent.leftOut).toEqual({
      'my-crun': 'my-crun does not run; install crun or set runtimes.my-crun.path',
    })
    const unfit = await probeFacts(scope, options(new Fault('unsupported', 'not on this machine'), 'my-runc'))
    expect(unfit.leftOut).toEqual({ 'my-crun': 'not on this machine' })
  })

  it('ends the start if it is the default', async () => {
    const start = probeFacts(scope, options(new Fault('unsupported', 'not on this machine'), 'my-crun'))
    await expect(start).rejects.toMatchObject({ kind: 'unavailable', message: 'not on this machine' })
  })
})

// SPDX-License-Identifier: Apache-2.0
/** What operators add to the specs of a handler: names with globs, the base spec and what may not come from it. */
import { describe, expect, it } from 'vitest'
import { planSpec } from '../../../../src/model/plan/container.ts'
import { matchesName, type OperatorSpec, parseBaseSpec } from '../../../../src/model/plan/spec/operator.ts'
import { planInputs } from '../../../support/plan-inputs.ts'

const planned = (operator: OperatorSpec, annotations: Record<string, string> = {}) =>
  planSpec(planInputs({ handler: { operator }, config: { annotations } }))

describe('a name with globs', () => {
  it.each([
    ['io.foo', 'io.foo', true],
    ['io.foo', 'io.foo.bar', false],
    ['io.foo.*', 'io.foo.bar/x', true],
    ['io.foo.*', 'io.foo', false],
    ['*', '', true],
    ['a*b*c', 'a-b-c', true],
    ['a*b*c', 'abc', true],
    ['a*b*c', 'acb', false],
    ['ab*ba', 'aba', false],
    ['a*bc*c', 'abc', false],
    ['a.c', 'abc', false],
  ])('%s on %s', (glob, name, is) => expect(matchesName(glob, name)).toBe(is))

  it('takes no long time on any', () => {
    const begun = performance.now()
    matchesName('*a'.repeat(200), 'a'.repeat(100_000))
    expect(performance.now() - begun).toBeLessThan(1000)
  })
})

describe('annotations', () => {
  it('pass by name; the container’s win over the pod’s and the handler’s', () => {
    const spec = planned(
      {
        annotations: { always: 'h', 'p.x': 'h' },
        podAnnotations: ['no*'],
        containerAnnotations: ['p.*', 'note'],
      },
      { 'p.x': 'c', note: 'c', other: 'c' },
    )
    expect(spec.annotations).toEqual({ always: 'h', 'p.x': 'c', note: 'c' })
  })

  it('of the pod pass alone, and without globs none does', () => {
    expect(planned({ podAnnotations: ['note'] }).annotations).toEqual({ note: '5n' })
    expect(planned({}, { 'p.x': 'c' }).annotations).toBeUndefined()
  })
})

describe('a base spec', () => {
  const base = (json: object) => ({ base: parseBaseSpec(JSON.stringify(json), '/b.json') })

  it('lies below: what is planned wins, its rlimits win, mounts and hooks are added', () => {
    const spec = planned(
      base({
        ociVersion: '9',
        process: {
          args: ['evil'],
          cwd: '/elsewhere',
          rlimits: [{ type: 'RLIMIT_NOFILE', soft: 5, hard: 6 }],
        },
        mounts: [
          { destination: '/proc', type: 'bind', source: '/' },
          { destination: '/extra', type: 'tmpfs' },
        ],
        hooks: { poststop: [{ path: '/bin/true' }] },
        linux: { sysctl: { 'net.core.somaxconn': '1' }, resources: { pids: { limit: 7 } } },
      }),
    )
    const plain = planned({})
    expect(spec).toEqual({
      ...plain,
      process: { ...plain.process, rlimits: [{ type: 'RLIMIT_NOFILE', soft: 5, hard: 6 }] },
      mounts: [{ destination: '/extra', type: 'tmpfs' }, ...plain.mounts],
      hooks: { poststop: [{ path: '/bin/true' }] },
      linux: {
        ...plain.linux,
        sysctl: { 'net.core.somaxconn': '1' },
        resources: { pids: { limit: 7 }, ...plain.linux.resources },
      },
    })
  })

  it('brings nothing that only requests decide', () => {
    const own = {
      capabilities: { bounding: ['CAP_SYS_ADMIN'] },
      apparmorProfile: 'x',
      selinuxLabel: 'y',
      user: {},
    }
    const linux = { seccomp: {}, maskedPaths: ['/a'], devices: [{}], namespaces: [], uidMappings: [] }
    expect(planned(base({ process: own, linux, root: { path: '/' }, hostname: 'h' }))).toEqual(planned({}))
  })

  it.each([
    ['no JSON', '{', /base_spec \/b\.json: no JSON/],
    ['a list', '[]', /not an object/],
    ['a section that is none', '{"linux": 1}', /linux is not an object/],
    ['a mount without a place', '{"mounts": [{}]}', /mounts is not a list of mounts/],
    ['a limit without a value', '{"process": {"rlimits": [{"type": "x"}]}}', /process\.rlimits/],
    ['a hook without a path', '{"hooks": {"poststop": [{"path": "x"}]}}', /hooks\.poststop/],
    ['an annotation that is no text', '{"annotations": {"a": 1}}', /annotations/],
  ])('that is wrong is refused with its file: %s', (_, text, why) => {
    expect(() => parseBaseSpec(text, '/b.json')).toThrow(why)
  })
})

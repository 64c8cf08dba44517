// SPDX-License-Identifier: Apache-2.0
/** When programs are started for host ports, and with which rules; no program is. */
import { chmod, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { silent } from '../../../../src/base/log.ts'
import type { Run } from '../../../../src/host/exec.ts'
import { hostports } from '../../../../src/host/hostports/hostports.ts'
import type { Native } from '../../../../src/host/native.ts'
import type { PodHostPorts } from '../../../../src/model/host-ports.ts'
import { tempDir } from '../cni/fixture.ts'

const scope = { signal: new AbortController().signal, log: silent }
const pod = (podId: string, hostPort: number): PodHostPorts => ({
  podId,
  ports: [{ family: 4, protocol: 'tcp', hostPort, podIp: '10.0.0.2', podPort: 80 }],
  subnets: ['10.0.0.2/24'],
  interfaces: ['br0', '../evil', 'two words', '"'],
})

/** There is an nft, which the runner plays. */
async function setUp() {
  const dir = await tempDir()
  await writeFile(join(dir, 'nft'), '')
  await chmod(join(dir, 'nft'), 0o755)
  const inputs: string[] = []
  const sysctls: string[] = []
  const nft = { fails: false }
  const run: Run = async (_scope, _deps, { stdin = Buffer.alloc(0) }) => {
    inputs.push(stdin.toString())
    const code = nft.fails ? 1 : 0
    return {
      code,
      signal: 0,
      stdout: Buffer.alloc(0),
      stderr: Buffer.from('no'),
      reason: 'exited',
      durationMs: 1,
    }
  }
  const ports = hostports({
    native: {} as Native,
    owner: 'x',
    run,
    programDirs: [dir],
    writeSysctl: async (path, value) => void sysctls.push(`${path}=${value}`),
  })
  const mapped = () => (inputs.at(-1) ?? '').match(/tcp \. \d+ comment/g)?.map((m) => m.split(' ')[2]) ?? []
  return { ports, inputs, sysctls, mapped, nft }
}

test('no program is started for pods without ports once the rules are known to be right', async () => {
  const t = await setUp()
  await t.ports.apply(scope)
  expect(t.inputs).toHaveLength(1)
  await t.ports.apply(scope)
  await t.ports.remove(scope, 'never-had-any')
  expect(t.inputs).toHaveLength(1)
})

test('each change puts all of them in force; the interface is opened last and closed first', async () => {
  const t = await setUp()
  t.ports.adopt([pod('a', 1)])
  await t.ports.apply(scope)
  await t.ports.add(scope, pod('b', 2))
  expect(t.mapped()).toEqual(['1', '2'])
  const path = '/proc/sys/net/ipv4/conf/br0/route_localnet'
  expect(t.sysctls).toEqual([`${path}=1`])
  await t.ports.remove(scope, 'a')
  expect([t.mapped(), t.sysctls.length]).toEqual([['2'], 1])
  await t.ports.remove(scope, 'b')
  expect(t.inputs.at(-1)).toBe('add table inet gantry_x\ndelete table inet gantry_x\n')
  expect(t.sysctls).toEqual([`${path}=1`, `${path}=0`])
})

test('what could not be put in force is tried again by the next change', async () => {
  const t = await setUp()
  t.nft.fails = true
  await expect(t.ports.add(scope, pod('a', 1))).rejects.toThrow(/nft could not change the rules: no/)
  await expect(t.ports.remove(scope, 'a')).rejects.toThrow(/nft/)
  t.nft.fails = false
  await t.ports.remove(scope, 'a')
  expect(t.mapped()).toEqual([])
  expect(t.inputs).toHaveLength(3)
})

test('changes at once share a run', async () => {
  const t = await setUp()
  await Promise.all([1, 2, 3, 4].map((n) => t.ports.add(scope, pod(`p${n}`, n))))
  expect(t.mapped()).toEqual(['1', '2', '3', '4'])
  expect(t.inputs.length).toBeLessThan(4)
})

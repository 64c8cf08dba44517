// SPDX-License-Identifier: Apache-2.0
/** SELinux of a machine: its contexts for containers, and relabelling that is skipped when the top label is right. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { silent } from '../../../../src/base/log.ts'
import type { Run } from '../../../../src/host/exec.ts'
import type { Native } from '../../../../src/host/native.ts'
import { parseContexts, probeSelinux, relabel } from '../../../../src/host/security/selinux.ts'

let root: string
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'gt-selinux-'))
})
afterAll(() => rm(root, { recursive: true }))

const process = 'system_u:system_r:container_t:s0'
const file = 'system_u:object_r:container_file_t:s0'
const text = `process = "${process}"\ncontent = "system_u:object_r:virt_var_lib_t:s0"\nfile = "${file}"\n`

test.each([
  ['quoted', text, { processContext: process, fileContext: file }],
  ['bare', `process=${process}\nfile=${file}`, { processContext: process, fileContext: file }],
  ['with no file', `process = "${process}"`, undefined],
  ['empty', '', undefined],
])('contexts: %s', (_what, contexts, wanted) => {
  expect(parseContexts(contexts)).toEqual(wanted)
})

test('SELinux is there with its file system and a policy that knows containers', async () => {
  expect(await probeSelinux(root)).toBeUndefined()
  await mkdir(`${root}/sys/fs/selinux`, { recursive: true })
  await writeFile(`${root}/sys/fs/selinux/enforce`, '1')
  expect(await probeSelinux(root)).toBeUndefined()
  await mkdir(`${root}/etc/selinux/mls/contexts`, { recursive: true })
  await writeFile(`${root}/etc/selinux/config`, 'SELINUX=enforcing\nSELINUXTYPE=mls\n')
  await writeFile(`${root}/etc/selinux/mls/contexts/lxc_contexts`, text)
  expect(await probeSelinux(root)).toEqual({ processContext: process, fileContext: file })
})

describe('relabelling', () => {
  const label = `${file}:c1,c2`
  function machine(present: string, chcon: { code: number; stderr?: string } = { code: 0 }) {
    const ran: (readonly string[])[] = []
    const run: Run = async (_scope, _deps, { argv }) => {
      ran.push(argv)
      const stat = argv[0] === 'stat'
      return {
        code: stat ? 0 : chcon.code,
        signal: 0,
        stdout: Buffer.from(stat ? `${present}\n` : ''),
        stderr: Buffer.from(stat ? '' : (chcon.stderr ?? '')),
        reason: 'exited',
        durationMs: 1,
      }
    }
    const scope = { signal: new AbortController().signal, log: silent }
    const go = (path: string) => relabel(scope, { native: {} as unknown as Native, run }, { path, label })
    return { ran, go }
  }

  test('is skipped when the top has the label', async () => {
    const m = machine(label)
    await m.go('/volume')
    expect(m.ran.map((argv) => argv[0])).toEqual(['stat'])
  })

  test('is done for the whole tree, without following links, when it has another', async () => {
    const m = machine('system_u:object_r:var_lib_t:s0')
    await m.go('/volume')
    expect(m.ran[1]).toEqual(['chcon', '-R', '-h', '--', label, '/volume'])
  })

  test('leaves a file system without labels as it is, and tells of anything else', async () => {
    const nfs = "chcon: failed to change context of '/volume' to 'x': Operation not supported\n"
    await machine('?', { code: 1, stderr: nfs }).go('/volume')
    const denied = `${nfs}chcon: cannot access '/volume/a': Permission denied\n`
    await expect(machine('?', { code: 1, stderr: denied }).go('/volume')).rejects.toThrow(
      /selinux_relabel: \/volume cannot be labelled/,
    )
  })

  test.each(['/', '/etc', '/usr/', '/var/lib', '/home'])('%s is refused', async (path) => {
    const m = machine('')
    await expect(m.go(path)).rejects.toThrow(/belongs to the system/)
    expect(m.ran).toEqual([])
  })
})

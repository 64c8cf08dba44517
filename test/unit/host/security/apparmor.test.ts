// SPDX-License-Identifier: Apache-2.0
/** AppArmor: when the default profile is loaded, what becomes of a container when it cannot be, and named profiles. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { silent } from '../../../../src/base/log.ts'
import type { Run } from '../../../../src/host/exec.ts'
import type { Native } from '../../../../src/host/native.ts'
import { appArmor } from '../../../../src/host/security/apparmor.ts'
import { defaultProfileText } from '../../../../src/host/security/apparmor-profile.ts'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gt-apparmor-'))
  await writeFile(join(folder, 'apparmor_parser'), '', { mode: 0o755 })
  await writeFile(
    join(folder, 'profiles'),
    'one (enforce)\nns://two (x) (complain)\ngantry-default (enforce)\n',
  )
  await writeFile(join(folder, 'removed'), 'one (enforce)\n')
})
afterAll(() => rm(folder, { recursive: true }))

function machine(
  change: { enabled?: boolean; parserDirs?: readonly string[]; code?: number; list?: string } = {},
) {
  const texts: string[] = []
  const warnings: string[] = []
  let code = change.code ?? 0
  const run: Run = async (_scope, _deps, { stdin }) => {
    texts.push(stdin?.toString('utf8') ?? '')
    const stderr = Buffer.from('syntax error in line 3')
    return { code, signal: 0, stdout: Buffer.alloc(0), stderr, reason: 'exited', durationMs: 1 }
  }
  const profiles = appArmor({
    native: {} as unknown as Native,
    run,
    enabled: change.enabled ?? true,
    parserDirs: change.parserDirs ?? [folder],
    loadedFile: join(folder, change.list ?? 'profiles'),
  })
  const scope = {
    signal: new AbortController().signal,
    log: { ...silent, warn: (event: string) => void warnings.push(event) },
  }
  return {
    texts,
    warnings,
    mend: () => {
      code = 0
    },
    want: (wanted: Parameters<typeof profiles.profileFor>[1]) => profiles.profileFor(scope, wanted),
  }
}

const byDefault = { type: 'runtime-default' } as const
const unset = { type: 'unset' } as const
const named = (ref: string) => ({ type: 'localhost', ref }) as const

describe('the default profile', () => {
  test('is loaded with the first container that needs it, and once; nothing asked for means it too', async () => {
    const m = machine()
    expect(m.texts).toEqual([])
    expect(await m.want(byDefault)).toBe('gantry-default')
    expect(await m.want(unset)).toBe('gantry-default')
    expect(m.texts).toHaveLength(1)
    expect(m.texts[0]).toContain('profile gantry-default')
  })

  test('is loaded again when somebody has removed it', async () => {
    const m = machine({ list: 'removed' })
    await m.want(byDefault)
    await m.want(byDefault)
    expect(m.texts).toHaveLength(2)
    const blind = machine({ list: 'not there' })
    await blind.want(byDefault)
    await blind.want(byDefault)
    expect(blind.texts).toHaveLength(1)
  })

  test('that cannot be loaded is an error where it was asked for, else a warning, and is tried again', async () => {
    const m = machine({ code: 1 })
    await expect(m.want(byDefault)).rejects.toThrow(/apparmor: apparmor_parser did not load .* syntax error/)
    expect(await m.want(unset)).toBeUndefined()
    expect(await m.want(unset)).toBeUndefined()
    expect(m.warnings).toEqual(['apparmor-default-not-loaded'])
    m.mend()
    expect(await m.want(byDefault)).toBe('gantry-default')
  })

  test('without apparmor_parser says what to install', async () => {
    const m = machine({ parserDirs: [join(folder, 'none')] })
    await expect(m.want(byDefault)).rejects.toThrow(
      /apparmor_parser is not installed.*install the package apparmor/,
    )
  })

  test('is not loaded where the kernel has no AppArmor, nor for an unconfined container', async () => {
    const off = machine({ enabled: false })
    expect(await off.want(byDefault)).toBeUndefined()
    const on = machine()
    expect(await on.want({ type: 'unconfined' })).toBeUndefined()
    expect([...off.texts, ...on.texts]).toEqual([])
  })

  test('keeps to the features of 3.0 where the machine can', () => {
    expect(defaultProfileText({ pinned: true }).startsWith('abi <abi/3.0>,\n')).toBe(true)
    expect(defaultProfileText({ pinned: false })).not.toContain('abi <')
  })
})

describe('a profile by name', () => {
  test('is taken when it is loaded', async () => {
    expect(await machine().want(named('one'))).toBe('one')
    expect(await machine().want(named('ns://two (x)'))).toBe('ns://two (x)')
  })

  test('is refused when it is not, or the kernel has no AppArmor', async () => {
    await expect(machine().want(named('three'))).rejects.toThrow(/profile three is not loaded on this node/)
    await expect(machine({ enabled: false }).want(named('one'))).rejects.toThrow(
      /profile one asked for, but this kernel has no AppArmor/,
    )
  })
})

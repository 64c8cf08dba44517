// SPDX-License-Identifier: Apache-2.0
/** Limit files set in an order that the kernel accepts, all or none, against a kernel that is a table. */
import { describe, expect, it } from 'vitest'
import { silent } from '../../../src/base/log.ts'
import { heldMemory, restoreLimits, saveLimits, setLimits } from '../../../src/host/cgroup/limits.ts'
import { adjustOom, killAll, namesOf } from '../../../src/host/cgroup/members.ts'
import type { LimitFile } from '../../../src/model/plan/limit-files.ts'

const refuse = (code: string) => Object.assign(new Error(`${code}: write`), { code })

/** A kernel whose memory and swap together may never be less than memory alone, as v1 has it. */
function kernel(files: Record<string, string>) {
  const writes: string[] = []
  return {
    files,
    writes,
    readMany: (paths: readonly string[]) =>
      paths.map((p) => (files[p] === undefined ? { code: 'ENOENT' } : Buffer.from(`${files[p]}\n`))),
    writeFile(path: string, text: string) {
      writes.push(`${path}=${text}`)
      if (files[path] === undefined) throw refuse('ENOENT')
      if (text === 'bad') throw refuse('EINVAL')
      const next: Record<string, string> = { ...files, [path]: text }
      if (Number(next['/m/limit']) > Number(next['/m/sum'])) throw refuse('EINVAL')
      files[path] = text
    },
  }
}

const limit = (file: string, value: string): LimitFile => ({ controller: 'm', file, value })
const place = (l: LimitFile) => (l.controller === 'm' ? `/m/${l.file}` : undefined)
const start = () => kernel({ '/m/limit': '10', '/m/sum': '15', '/m/other': 'a' })

describe('limits', () => {
  it.each([
    ['grow past the old sum', '20', '25'],
    ['shrink below the old limit', '3', '4'],
    ['become equal', '12', '12'],
  ])('that %s are set, whichever has to be first', (_what, a, b) => {
    for (const order of [0, 1]) {
      const k = start()
      const both = [limit('limit', a), limit('sum', b)]
      setLimits(k, place, order ? both.reverse() : both)
      expect(k.files).toMatchObject({ '/m/limit': a, '/m/sum': b })
    }
  })

  it('that are set already are not written', () => {
    const k = start()
    setLimits(k, place, [limit('limit', '10'), limit('other', 'a')])
    expect(k.writes).toEqual([])
  })

  it.each([
    ['one is refused', limit('other', 'bad'), 'invalid', /cannot write "bad" to \/m\/other: EINVAL/],
    ['a file is not there', limit('none', '1'), 'unsupported', /\/m\/none.*no such file/],
  ])('are all as before when %s', (_what, wrong, kind, why) => {
    const k = start()
    const set = () => setLimits(k, place, [limit('limit', '20'), limit('sum', '25'), wrong])
    expect(set).toThrow(expect.objectContaining({ kind }))
    expect(set).toThrow(why)
    expect(k.files).toEqual(start().files)
  })

  it('of a controller that is not there change nothing', () => {
    const k = start()
    const wrong = { controller: 'hugetlb', file: 'hugetlb.2MB.limit_in_bytes', value: '1' }
    expect(() => setLimits(k, place, [limit('limit', '5'), wrong])).toThrow(/hugetlb is not mounted/)
    expect(k.writes).toEqual([])
  })

  it('come back from what was saved, both ways', () => {
    const k = start()
    const saved = saveLimits(k, place, [limit('limit', ''), limit('sum', ''), limit('none', '')])
    setLimits(k, place, [limit('sum', '99'), limit('limit', '90')])
    restoreLimits(k, saved)
    expect(k.files).toEqual(start().files)
  })
})

it('memory that is held is what reclaim cannot give back', () => {
  const stat = 'anon 50\ninactive_file 20\nactive_file 10\nslab_reclaimable 5\nslab 7\n'
  expect([heldMemory('100', stat), heldMemory('10', stat), heldMemory('', stat)]).toEqual([65, 0, undefined])
})

describe('processes', () => {
  it('are named with state and place, those that are gone are not', () => {
    const files = { '/proc/7/stat': '7 (my (odd) name) D 1 7', '/proc/7/wchan': 'nfs_wait' }
    expect(namesOf(kernel(files), [7, 8])).toEqual(['7 my (odd) name (D, nfs_wait)'])
  })

  it('get a new oom_score_adj unless they chose one themselves', () => {
    const k = kernel({ '/proc/7/oom_score_adj': '100', '/proc/8/oom_score_adj': '555' })
    adjustOom(k, [7, 8, 9], { from: 100, to: 300 })
    expect(k.files).toEqual({ '/proc/7/oom_score_adj': '300', '/proc/8/oom_score_adj': '555' })
  })

  it('of a cgroup that is not there need no killing', async () => {
    const scope = { signal: new AbortController().signal, log: silent }
    const none = { pidfdOpen: () => 1, pidfdSignal: () => {}, close: () => {} }
    await expect(killAll(scope, { ...kernel({}), ...none }, '/nowhere')).resolves.toBeUndefined()
  })
})

// SPDX-License-Identifier: Apache-2.0
/**
 * Ground for the tests of `gantry-unpack`: a temporary root of each test with a layer directory and, beside it,
 * things that must not be touched; running the program on a blob; and what a tree looks like afterwards. Needs
 * root. The program is started by node here; its real parent is tested in unpack-parent.test.ts.
 */
import { execFileSync, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, vi } from 'vitest'

/** Longer than the program's own limit below, so that a test that hangs cannot leave a process behind. */
vi.setConfig({ testTimeout: 60_000 })

const BUILD = fileURLToPath(new URL('../../native/build/', import.meta.url))
export const UNPACK = process.env.GANTRY_TEST_UNPACK ?? join(BUILD, 'gantry-unpack')
export const UNPACK_ASAN = join(BUILD, 'gantry-unpack-asan')

export interface Ground extends Disposable {
  readonly root: string
  /** The empty directory to unpack into. */
  readonly layer: string
  /** Throws if anything beside the layer has changed. */
  assertOutsideUntouched(): void
}

export function ground(base = tmpdir()): Ground {
  const root = mkdtempSync(join(base, 'gt-unpack-'))
  const layer = join(root, 'layer')
  const outside = join(root, 'outside')
  mkdirSync(layer)
  mkdirSync(join(outside, 'deep'), { recursive: true })
  writeFileSync(join(outside, 'secret'), 'untouched', { mode: 0o600 })
  chmodSync(outside, 0o700)
  const before = JSON.stringify([...look(outside)])
  return {
    root,
    layer,
    assertOutsideUntouched() {
      const names = readdirSync(root).sort().join(' ')
      if (names !== 'layer outside') throw new Error(`beside the layer there is now: ${names}`)
      const after = JSON.stringify([...look(outside)])
      if (after !== before) throw new Error(`outside has changed: ${before} became ${after}`)
    },
    [Symbol.dispose]() {
      rmSync(root, { recursive: true, force: true })
    },
  }
}

export function sha256(data: Buffer): string {
  return `sha256:${createHash('sha256').update(data).digest('hex')}`
}

export interface Answer {
  readonly code: number | null
  readonly signal: string | null
  readonly stderr: string
  /** The JSON line; undefined if there was none. */
  readonly json: Record<string, unknown> | undefined
  /** `kind/stage`, the path and the message of an error. */
  readonly error: { readonly what: string; readonly path: string; readonly message: string } | undefined
}

export interface RunOptions {
  readonly digest?: string
  readonly size?: number
  readonly diffId?: string
  readonly more?: readonly string[]
  readonly program?: string
  readonly onPid?: (pid: number | undefined) => void
}

/** Feeds the blob to the program. With no options size and digest are the blob's own. */
export async function unpack(into: string, blob: Buffer, o: RunOptions = {}): Promise<Answer> {
  const argv = ['--into', into, '--digest', o.digest ?? sha256(blob), '--size', `${o.size ?? blob.length}`]
  if (o.diffId !== undefined) argv.push('--diff-id', o.diffId)
  const child = spawn(o.program ?? UNPACK, [...argv, ...(o.more ?? [])], {
    env: { ASAN_OPTIONS: 'detect_leaks=0:allocator_may_return_null=1' },
    timeout: 50_000,
    killSignal: 'SIGKILL',
  })
  o.onPid?.(child.pid)
  const out: Buffer[] = []
  const err: Buffer[] = []
  child.stdout.on('data', (b: Buffer) => out.push(b))
  child.stderr.on('data', (b: Buffer) => err.push(b))
  child.stdin.on('error', () => {})
  child.stdin.end(blob)
  const { code, signal } = await new Promise<{ code: number | null; signal: string | null }>(
    (resolve, reject) => {
      child.on('error', reject)
      child.on('close', (c, s) => resolve({ code: c, signal: s }))
    },
  )
  return answer(code, signal, Buffer.concat(out).toString(), Buffer.concat(err).toString())
}

function answer(code: number | null, signal: string | null, stdout: string, stderr: string): Answer {
  let json: Record<string, unknown> | undefined
  if (stdout !== '') json = JSON.parse(stdout)
  const e = json?.error
  const text = (key: string): string =>
    typeof e === 'object' && e !== null ? String(Reflect.get(e, key)) : ''
  const error =
    e === undefined
      ? undefined
      : { what: `${text('kind')}/${text('stage')}`, path: text('path'), message: text('message') }
  return { code, signal, stderr, json, error }
}

export interface Seen {
  readonly type: string
  readonly mode: string
  readonly owner: string
  readonly mtimeNs: bigint
  readonly nlink: number
  readonly ino: bigint
  readonly rdev: bigint
  readonly size: bigint
  readonly blocks: bigint
  /** sha256 of a file, target of a link. */
  readonly content: string
}

const TYPES: Readonly<Record<number, string>> = {
  1: 'fifo',
  2: 'char',
  4: 'dir',
  6: 'block',
  8: 'file',
  10: 'link',
  12: 'socket',
}

/** Every path below `root` (as latin1, so that any bytes do) with what lstat and its content say; '' is root. */
export function look(root: string): Map<string, Readonly<Record<string, string>>> {
  const out = new Map<string, Readonly<Record<string, string>>>()
  for (const [path, seen] of inspect(root)) {
    const { ino, blocks, ...stable } = seen
    const plain = Object.fromEntries(Object.entries(stable).map(([k, v]) => [k, String(v)]))
    out.set(path, seen.type === 'dir' ? { ...plain, size: '', nlink: '' } : plain)
  }
  return out
}

export function inspect(root: string): Map<string, Seen> {
  const out = new Map<string, Seen>()
  const visit = (path: Buffer, name: string): void => {
    const st = lstatSync(path, { bigint: true })
    const type = TYPES[Number(st.mode >> 12n)] ?? '?'
    const content =
      type === 'file'
        ? createHash('sha256').update(readFileSync(path)).digest('hex')
        : type === 'link'
          ? readlinkSync(path, 'latin1')
          : ''
    out.set(name, {
      type,
      mode: (st.mode & 0o7777n).toString(8),
      owner: `${st.uid}:${st.gid}`,
      mtimeNs: st.mtimeNs,
      nlink: Number(st.nlink),
      ino: st.ino,
      rdev: st.rdev,
      size: st.size,
      blocks: st.blocks,
      content,
    })
    if (type !== 'dir') return
    for (const child of readdirSync(path, { encoding: 'buffer' }).sort(Buffer.compare)) {
      const text = child.toString('latin1')
      visit(Buffer.concat([path, Buffer.from('/'), child]), name === '' ? text : `${name}/${text}`)
    }
  }
  visit(Buffer.from(root), '')
  return out
}

/** Extended attributes of a tree as `path key=hex`, sorted; read through GNU tar, as node has no call for them. */
export function xattrs(root: string): string[] {
  const tar = execFileSync(
    'tar',
    ['--format=pax', '--xattrs', '--xattrs-include=*', '-C', root, '-cf', '-', '.'],
    {
      maxBuffer: 1 << 30,
    },
  )
  const out: string[] = []
  let pending: [string, string][] = []
  let path = ''
  for (let at = 0; at + 512 <= tar.length && tar[at] !== 0; ) {
    const type = tar.toString('latin1', at + 156, at + 157)
    const size = Number.parseInt(tar.toString('latin1', at + 124, at + 135), 8)
    const data = tar.subarray(at + 512, at + 512 + size)
    if (type === 'x') {
      for (let r = 0; r < data.length; ) {
        const space = data.indexOf(0x20, r)
        const length = Number(data.toString('latin1', r, space))
        const equals = data.indexOf(0x3d, space)
        const key = data.toString('latin1', space + 1, equals)
        const value = data.subarray(equals + 1, r + length - 1)
        if (key === 'path') path = value.toString('latin1')
        if (key.startsWith('SCHILY.xattr.')) pending.push([key.slice(13), value.toString('hex')])
        r += length
      }
    } else {
      const name = tar.toString('latin1', at, at + 100).replace(/\0.*$/s, '')
      const full = (path || name).replace(/^\.\/?/, '').replace(/\/$/, '')
      out.push(...pending.map(([k, v]) => `${full} ${k}=${v}`))
      pending = []
      path = ''
    }
    at += 512 + Math.ceil(size / 512) * 512
  }
  return out.sort()
}

/** The result line of a run that must have succeeded. */
export function ok(a: Answer): Record<string, unknown> {
  expect({ error: a.error, signal: a.signal, stderr: a.stderr }).toEqual({
    error: undefined,
    signal: null,
    stderr: '',
  })
  expect(a.code).toBe(0)
  if (a.json === undefined) throw new Error('no result line')
  return a.json
}

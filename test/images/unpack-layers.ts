// SPDX-License-Identifier: Apache-2.0
/**
 * unpack-layers: three layers on top of the base that hold, between them, everything an unpacker and an overlay
 * must get right, and what the whole must look like afterwards. Tests compare a container's view with
 * `expectedTree`; nothing else knows the content.
 */
import type { LayerEntry } from '../support/oci-layer.ts'

const longDir = 'data/a-rather-long-folder-name-that-alone-takes-up-sixty-characters-of-path'
/** 150 characters of directory and 120 of file name: beyond what an old tar header holds. */
export const longPath = `${longDir}/${'n'.repeat(70)}/${'f'.repeat(120)}.txt`

/** The lowest: files that the next ones hide, replace and link to. */
export const first: readonly LayerEntry[] = [
  { type: 'directory', path: 'data' },
  { type: 'file', path: 'data/kept', content: 'kept\n' },
  { type: 'file', path: 'data/removed', content: 'must not be seen\n' },
  { type: 'file', path: 'data/replaced', content: 'old\n' },
  { type: 'directory', path: 'data/opaque' },
  { type: 'file', path: 'data/opaque/old', content: 'must not be seen\n' },
  { type: 'directory', path: 'data/gone' },
  { type: 'file', path: 'data/gone/file', content: 'must not be seen\n' },
  { type: 'directory', path: 'data/becomes-file' },
  { type: 'file', path: 'data/becomes-file/inner', content: 'must not be seen\n' },
  { type: 'file', path: 'data/becomes-dir', content: 'must not be seen\n' },
  { type: 'directory', path: 'data/remade' },
  { type: 'file', path: 'data/remade/old', content: 'must not be seen\n' },
]

/** Whiteouts, an opaque folder, type changes, links, owners, modes, devices, attributes. */
export const second: readonly LayerEntry[] = [
  { type: 'file', path: 'data/.wh.removed', content: '' },
  { type: 'file', path: 'data/.wh.gone', content: '' },
  { type: 'file', path: 'data/replaced', content: 'new\n', mode: 0o600, uid: 7, gid: 8 },
  { type: 'directory', path: 'data/opaque', mode: 0o750 },
  { type: 'file', path: 'data/opaque/.wh..wh..opq', content: '' },
  { type: 'file', path: 'data/opaque/new', content: 'new\n' },
  { type: 'file', path: 'data/becomes-file', content: 'a file now\n' },
  { type: 'directory', path: 'data/becomes-dir' },
  { type: 'file', path: 'data/becomes-dir/inner', content: 'inside\n' },
  { type: 'file', path: 'data/.wh.remade', content: '' },
  { type: 'file', path: 'data/one', content: 'linked\n', uid: 1234, gid: 5678 },
  { type: 'hardlink', path: 'data/two', target: 'data/one' },
  { type: 'symlink', path: 'data/relative', target: 'one' },
  { type: 'symlink', path: 'data/absolute', target: '/data/one' },
  { type: 'symlink', path: 'data/dangling', target: '../../../../outside' },
  { type: 'file', path: 'data/setuid', content: '#!/bin/sh\n', mode: 0o4755, uid: 0, gid: 33 },
  { type: 'file', path: 'data/setgid', content: '#!/bin/sh\n', mode: 0o2755, uid: 33, gid: 33 },
  { type: 'directory', path: 'data/sticky', mode: 0o1777 },
  { type: 'char', path: 'data/null', major: 1, minor: 3, mode: 0o666 },
  { type: 'block', path: 'data/block', major: 7, minor: 99, mode: 0o660 },
  { type: 'fifo', path: 'data/fifo', mode: 0o640 },
  {
    type: 'file',
    path: 'data/attributed',
    content: 'x\n',
    xattrs: { 'user.note': Buffer.from([0, 255, 10, 61]) },
  },
  { type: 'file', path: 'data/empty', content: '' },
  { type: 'file', path: 'data/naïve – ünï', content: 'utf-8\n' },
]

/** Made again after it was whited out, a name too long for a plain header, and a hard link across nothing. */
export const third: readonly LayerEntry[] = [
  { type: 'directory', path: 'data/remade' },
  { type: 'file', path: 'data/remade/new', content: 'new\n' },
  { type: 'file', path: longPath, content: 'long\n' },
]

export interface ExpectedNode {
  readonly type: 'file' | 'directory' | 'symlink' | 'char' | 'block' | 'fifo'
  readonly mode?: number
  readonly uid?: number
  readonly gid?: number
  readonly content?: string
  readonly target?: string
}

/** What `data` holds when the three layers lie on each other, by path below `data/`; nothing else is there. */
export const expectedTree: Readonly<Record<string, ExpectedNode>> = {
  kept: { type: 'file', mode: 0o644, uid: 0, gid: 0, content: 'kept\n' },
  replaced: { type: 'file', mode: 0o600, uid: 7, gid: 8, content: 'new\n' },
  opaque: { type: 'directory', mode: 0o750 },
  'opaque/new': { type: 'file', content: 'new\n' },
  'becomes-file': { type: 'file', content: 'a file now\n' },
  'becomes-dir': { type: 'directory' },
  'becomes-dir/inner': { type: 'file', content: 'inside\n' },
  remade: { type: 'directory' },
  'remade/new': { type: 'file', content: 'new\n' },
  one: { type: 'file', uid: 1234, gid: 5678, content: 'linked\n' },
  two: { type: 'file', uid: 1234, gid: 5678, content: 'linked\n' },
  relative: { type: 'symlink', target: 'one' },
  absolute: { type: 'symlink', target: '/data/one' },
  dangling: { type: 'symlink', target: '../../../../outside' },
  setuid: { type: 'file', mode: 0o4755, uid: 0, gid: 33 },
  setgid: { type: 'file', mode: 0o2755, uid: 33, gid: 33 },
  sticky: { type: 'directory', mode: 0o1777 },
  null: { type: 'char', mode: 0o666 },
  block: { type: 'block', mode: 0o660 },
  fifo: { type: 'fifo', mode: 0o640 },
  attributed: { type: 'file', content: 'x\n' },
  empty: { type: 'file', content: '' },
  'naïve – ünï': { type: 'file', content: 'utf-8\n' },
  ...parentsOf(longPath.slice('data/'.length)),
  [longPath.slice('data/'.length)]: { type: 'file', content: 'long\n' },
}

/** `user.note` of `data/attributed`: bytes that are not text. */
export const expectedNote: Uint8Array = Buffer.from([0, 255, 10, 61])

function parentsOf(path: string): Record<string, ExpectedNode> {
  const parts = path.split('/').slice(0, -1)
  return Object.fromEntries(parts.map((_, i) => [parts.slice(0, i + 1).join('/'), { type: 'directory' }]))
}

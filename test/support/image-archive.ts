// SPDX-License-Identifier: Apache-2.0
/** image-archive: images with something of everything, and the archives of them, for the suites about archives. */
import { Writable } from 'node:stream'
import type { Images } from '../../src/engine/images/images.ts'
import { seal } from '../../src/model/pull-policy.ts'
import { parseReference } from '../../src/model/reference.ts'
import { scope } from './image-store.ts'
import { buildImage, type Image } from './oci-image.ts'
import { buildLayer } from './oci-layer.ts'

/** Links, owners, attributes, a whiteout; `marker` makes it another image. */
export async function sample(marker: string, format: 'oci' | 'docker' = 'oci'): Promise<Image> {
  const base = await buildLayer([
    { type: 'directory', path: 'tmp', mode: 0o1777 },
    { type: 'directory', path: 'bin' },
    { type: 'directory', path: 'etc' },
    { type: 'file', path: 'etc/passwd', content: 'root:x:0:0::/:/bin/sh\n', uid: 3, gid: 4 },
    {
      type: 'file',
      path: 'bin/su',
      content: 'su',
      mode: 0o4755,
      xattrs: { 'user.note': Buffer.from([0, 255]) },
    },
    { type: 'hardlink', path: 'bin/su2', target: 'bin/su' },
    { type: 'symlink', path: 'sbin', target: '/bin' },
  ])
  const top = await buildLayer([
    { type: 'file', path: `tmp/${marker}`, content: marker.repeat(5000) },
    { type: 'directory', path: 'etc' },
    { type: 'file', path: 'etc/.wh.passwd', content: '' },
  ])
  return buildImage({ layers: [base, top], config: { Env: [`M=${marker}`] }, format })
}

export const pull = (from: Images, name: string) =>
  from.pull(scope, { reference: parseReference(name), auth: seal({}) })

/** The archive of what is in the store, whole in memory. */
export async function saved(
  from: Images,
  references: readonly string[],
  format: 'docker' | 'oci' = 'docker',
) {
  const parts: Buffer[] = []
  const sink = new Writable({
    write(piece, _encoding, done) {
      parts.push(Buffer.from(piece)) // a piece is the sink's only until it calls back
      done()
    },
  })
  const result = await from.save(scope, { references, format }, sink)
  return { ...result, archive: Buffer.concat(parts) }
}

export async function* inPieces(bytes: Buffer, size = 40_000): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

// SPDX-License-Identifier: Apache-2.0
/**
 * digest: critest pulls one image by a digest that is compiled into it and that no other image can have. This
 * writes a copy of the program, `bin/critest-local`, in which the digest is that of the project's own image of
 * that name. The copy differs in those 64 bytes only. `node conformance/critest/digest.ts`, after build.sh.
 */
import { readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ensureTestImages } from '../../test/images/build.ts'
import { names } from '../../test/images/catalog.ts'

const bin = join(dirname(dirname(fileURLToPath(import.meta.url))), 'bin')
const before = '9700f9a2f5bf2c45f2f605a0bd3bce7cf37420ec9d3ed50ac2758413308766bf'

/** The program with the digest replaced. Throws unless the old one is in it exactly once. */
export function withDigest(program: Buffer, digest: string): Buffer {
  const hex = /^sha256:([0-9a-f]{64})$/.exec(digest)?.[1]
  if (hex === undefined) throw new Error(`not a sha256 digest: ${JSON.stringify(digest)}`)
  const at = program.indexOf(before)
  if (at < 0 || program.indexOf(before, at + 1) >= 0)
    throw new Error('critest does not hold the digest of its test image exactly once: is it another version?')
  const copy = Buffer.from(program)
  copy.write(hex, at, 'latin1')
  return copy
}

/** Writes `bin/critest-local`; gives its path. */
export async function writeLocalCritest(): Promise<string> {
  const layout = await ensureTestImages()
  const program = await readFile(join(bin, 'critest'))
  const path = join(bin, 'critest-local')
  await writeFile(path, withDigest(program, layout.image(names.byDigest).digest), { mode: 0o755 })
  return path
}

if (process.argv[1] === fileURLToPath(import.meta.url)) process.stdout.write(`${await writeLocalCritest()}\n`)

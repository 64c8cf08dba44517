// SPDX-License-Identifier: Apache-2.0
/**
 * Docker's layout of certificates in a host's folder: `*.crt` are authorities, `*.cert` with `*.key` of the same
 * name let us in. containerd, Docker and the containers tools all read it. A half of a pair is an error: to go
 * on without it would be refused by the registry with a worse message.
 */
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { Fault } from '../../base/fault.ts'
import { readIfThere } from './toml-file.ts'

export interface Certificates {
  /** PEM texts that are trusted beside the system's. */
  readonly ca: readonly string[]
  readonly client: readonly { readonly cert: string; readonly key: string }[]
}

/** The certificates in `folder`, in the order of their names. Throws `invalid`, naming the file. @abort finishes */
export async function dockerCerts(folder: string): Promise<Certificates> {
  const names = (await readdir(folder)).sort()
  const ending = (suffix: string) => names.filter((n) => n.endsWith(suffix) && n !== suffix)
  for (const key of ending('.key')) {
    const cert = `${key.slice(0, -'.key'.length)}.cert`
    if (!names.includes(cert)) throw missingHalf(join(folder, key), cert)
  }
  const ca = await Promise.all(ending('.crt').map((name) => pemOf(join(folder, name))))
  const client = await Promise.all(
    ending('.cert').map(async (name) => {
      const cert = await pemOf(join(folder, name))
      const keyName = `${name.slice(0, -'.cert'.length)}.key`
      if (names.includes(keyName)) return { cert, key: await pemOf(join(folder, keyName)) }
      // containerd takes a file with both parts in it.
      if (/-----BEGIN [A-Z ]*PRIVATE KEY-----/.test(cert)) return { cert, key: cert }
      throw missingHalf(join(folder, name), keyName)
    }),
  )
  return { ca, client }
}

function missingHalf(file: string, other: string): Fault {
  return new Fault(
    'invalid',
    `${file}: ${other} is missing beside it: a client certificate needs both (an authority is named *.crt)`,
  )
}

/** A PEM file. Throws `invalid` for a file with no PEM block in it, which no TLS library would tell by name. */
export async function pemOf(path: string): Promise<string> {
  const text = await readIfThere(path)
  if (text === undefined) throw new Fault('invalid', `the file ${path} does not exist`)
  if (!/-----BEGIN [A-Z0-9 ]+-----/.test(text)) throw new Fault('invalid', `${path} is not a PEM file`)
  return text
}

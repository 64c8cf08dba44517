// SPDX-License-Identifier: Apache-2.0
/**
 * TLS of the servers that an operator configures with files of PEM: reading them, telling whether they have changed,
 * and what a server is given. Owns no socket.
 */
import { readFile, stat } from 'node:fs/promises'
import type { SecureContextOptions, TlsOptions } from 'node:tls'
import { asFault, Fault } from '../base/fault.ts'

export interface TlsPaths {
  readonly certFile: string
  readonly keyFile: string
  /** Authorities of which a client must show a certificate. */
  readonly clientCaFile?: string | undefined
}

/** Certificates as PEM; with `ca` a client must show one that it signed. */
export type TlsPem = Pick<SecureContextOptions, 'cert' | 'key' | 'ca'>

/** Throws `unavailable` with the option of `group` whose file cannot be read. `stamp` tells one state of the files from another. */
export async function tlsFiles(
  group: string,
  paths: TlsPaths,
): Promise<{ readonly pem: TlsPem; readonly stamp: string }> {
  const read = async (option: string, path: string) => {
    try {
      const { ino, mtimeMs, size } = await stat(path)
      return { pem: await readFile(path), stamp: `${ino} ${mtimeMs} ${size}` }
    } catch (e) {
      throw new Fault('unavailable', `${group}.${option}: ${asFault(e).message}`, { cause: e })
    }
  }
  const cert = await read('tls_cert_file', paths.certFile)
  const key = await read('tls_key_file', paths.keyFile)
  const { clientCaFile } = paths
  const ca = clientCaFile === undefined ? undefined : await read('tls_client_ca_file', clientCaFile)
  return {
    pem: { cert: cert.pem, key: key.pem, ...(ca ? { ca: ca.pem } : {}) },
    stamp: `${cert.stamp}, ${key.stamp}, ${ca?.stamp}`,
  }
}

/** Of a server. Client certificates are asked for where there are authorities for them. */
export function tlsOptions(pem: TlsPem): TlsOptions {
  const asked = pem.ca === undefined ? {} : { requestCert: true, rejectUnauthorized: true }
  return { ...pem, ...asked, minVersion: 'TLSv1.2' }
}

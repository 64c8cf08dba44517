// SPDX-License-Identifier: Apache-2.0
/**
 * tls-front: TLS on loopback in front of a plain server, with a certificate that no system trusts. Its key is in
 * this file: it proves nothing and is for tests only. It can ask clients for a certificate of the same authority.
 */
import { connect } from 'node:net'
import { createServer, type TlsOptions } from 'node:tls'

/** Its own authority, for `localhost` and 127.0.0.1, until 2126. */
export const testCert = `-----BEGIN CERTIFICATE-----
MIIBnzCCAUWgAwIBAgIUWG8QWtFGyN4gOTbuo2hPuvdrrMUwCgYIKoZIzj0EAwIw
FjEUMBIGA1UEAwwLZ2FudHJ5IHRlc3QwIBcNMjYxMTI0MTIxNTM0WhgPMjEyNjEw
MzExMjE1MzRaMBYxFDASBgNVBAMMC2dhbnRyeSB0ZXN0MFkwEwYHKoZIzj0CAQYI
KoZIzj0DAQcDQgAEom41XpuGAhyzYIZU7u9xyYIiodelImcIr5sh2IR0OFz4uSBQ
GmVM9wywoDAA2PDbgYpZC03LPxillw29n2IkoKNvMG0wHQYDVR0OBBYEFH0ruvEr
2nhwG1uQLQ3QaFpeJOrvMB8GA1UdIwQYMBaAFH0ruvEr2nhwG1uQLQ3QaFpeJOrv
MA8GA1UdEwEB/wQFMAMBAf8wGgYDVR0RBBMwEYIJbG9jYWxob3N0hwR/AAABMAoG
CCqGSM49BAMCA0gAMEUCIE4yyfeoEuaA7rBNo/R2eBo4KJq0pqVCeF0SWhN0eRkQ
AiEAznUE9/N1wl4StU7N33sQidJHF09fciBQHWOtavse3Kw=
-----END CERTIFICATE-----
`
export const testKey = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgQEfq/YLJP1SrndG4
uvJ8WNoXd2phgDRv65Km7k3oWh+hRANCAASibjVem4YCHLNghlTu73HJgiKh16Ui
ZwivmyHYhHQ4XPi5IFAaZUz3DLCgMADY8NuBilkLTcs/GKWXDb2fYiSg
-----END PRIVATE KEY-----
`

export interface TlsFront extends AsyncDisposable {
  /** `localhost:PORT`. */
  readonly host: string
}

/** Passes what comes by TLS on to `behind`, a port of 127.0.0.1. */
export async function tlsFront(behind: number, options: TlsOptions = {}): Promise<TlsFront> {
  const open = new Set<{ destroy(): void }>()
  const server = createServer({ cert: testCert, key: testKey, ...options }, (socket) => {
    const inner = connect(behind, '127.0.0.1')
    for (const end of [socket, inner]) {
      open.add(end)
      end.on('error', () => {})
      end.on('close', () => {
        open.delete(end)
        for (const other of [socket, inner]) other.destroy()
      })
    }
    socket.pipe(inner).pipe(socket)
  })
  server.on('tlsClientError', () => {})
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no TCP address')
  return {
    host: `localhost:${address.port}`,
    async [Symbol.asyncDispose]() {
      for (const socket of open) socket.destroy()
      await new Promise<void>((resolve) => server.close(() => resolve()))
    },
  }
}

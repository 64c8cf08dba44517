// SPDX-License-Identifier: Apache-2.0
/**
 * Trying credentials at a registry: one request for the root of its API, with the certificates and headers of
 * its hosts. Fetches nothing and keeps nothing.
 */
import { asFault, Fault } from '../../base/fault.ts'
import { Authorizer } from './auth.ts'
import type { Credentials } from './credentials.ts'
import type { RegistryHost } from './hosts-toml.ts'
import { exchange, shownUrl } from './http.ts'

/**
 * Are the credentials good at the registry that `hosts` stand for? `accepted`, or `not-asked`: it lets in
 * anybody, so that nothing was tried. Throws `denied` when they are refused, else what the last host that was
 * tried fails with. @abort stops
 */
export async function tryCredentials(
  hosts: readonly RegistryHost[],
  credentials: Credentials,
  signal: AbortSignal,
): Promise<'accepted' | 'not-asked'> {
  const auth = new Authorizer({ lookup: async () => credentials })
  for (const [n, host] of hosts.entries()) {
    try {
      return await tryAt(host, auth, signal)
    } catch (e) {
      const fault = asFault(e)
      const another = hosts[n + 1]?.onlyIfUnreachable === true && fault.reason === 'RegistryUnavailable'
      if (!another || signal.aborted) throw new Fault(fault.kind, auth.scrub(fault.message))
    }
  }
  throw new Fault('internal', 'the registry has no host')
}

async function tryAt(host: RegistryHost, auth: Authorizer, signal: AbortSignal) {
  const url = new URL(`${host.base.href}/`)
  const { tls, connectMs } = host
  let asked = 0
  const reply = await auth.send(host, signal, (privateHeaders) => {
    asked++
    return exchange({ method: 'GET', url, headers: {}, privateHeaders, tls, connectMs, signal })
  })
  reply.body.destroy()
  if (reply.status === 200) return asked === 1 ? 'not-asked' : 'accepted'
  const refused = reply.status === 401 || reply.status === 403
  const why = refused ? 'the credentials were refused' : 'is this the address of a registry?'
  throw new Fault(refused ? 'denied' : 'unavailable', `${shownUrl(url)} answers HTTP ${reply.status}: ${why}`)
}

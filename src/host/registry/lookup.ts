// SPDX-License-Identifier: Apache-2.0
/**
 * Where the credentials of a pull come from: the request, if they are for the host that asks, else the node's
 * files and the helpers that these name. Each host gets its own and no other's. Files are read when a host asks,
 * at each pull anew.
 */
import type { RegistryAuth } from '../../model/pull-policy.ts'
import { entryFor, readAuthFile } from './auth-file.ts'
import type { HelperQuestion } from './cred-helper.ts'
import { type CredentialLookup, type Credentials, credentialsFit, credentialsOf } from './credentials.ts'

export interface NodeCredentials {
  /** Files in the order of `registry.auth_files`; the first that has something decides. */
  readonly files: readonly string[]
  /** As `askHelper`. */
  ask(question: HelperQuestion): Promise<Credentials | undefined>
  /** Told what an operator should know, without secrets. */
  warn(message: string): void
}

/**
 * The lookup of one job. `request` is what the client sent for images of `domain`. Throws `invalid` at once for
 * credentials of the request that cannot be used; the lookup rejects as `readAuthFile` and `askHelper` throw.
 */
export function credentialLookup(
  request: { readonly auth: RegistryAuth; readonly domain: string },
  node: NodeCredentials,
): CredentialLookup {
  const own = credentialsOf(request.auth, 'the request')
  return async (host, repository) =>
    own !== undefined && credentialsFit(request.auth, request.domain, host)
      ? own
      : nodeCredentials(node, host, repository)
}

async function nodeCredentials(
  node: NodeCredentials,
  host: URL,
  repository: string,
): Promise<Credentials | undefined> {
  for (const path of node.files) {
    const file = await readAuthFile(path)
    const entry = file && entryFor(file, host, repository)
    if (entry === undefined) continue
    if (entry.is === 'credentials') {
      if (file?.open) node.warn(`${path} has credentials in it and anybody may read it: chmod 600 ${path}`)
      return entry.credentials
    }
    const found = await node.ask({ name: entry.name, host, namedIn: path })
    if (found) return found
  }
  return undefined
}

// SPDX-License-Identifier: Apache-2.0
/** The Authorizer of a job: the request's credentials and the node's, looked up as hosts ask for them. */
import type { RegistryAccess } from '../host/images/protocol.ts'
import type { Native } from '../host/native.ts'
import { Authorizer, type AuthorizerOptions } from '../host/registry/auth.ts'
import { askHelper } from '../host/registry/cred-helper.ts'
import { credentialLookup } from '../host/registry/lookup.ts'
import type { Reference } from '../model/reference.ts'
import type { JobContext } from './job.ts'

export interface AuthorizerNeeds extends Pick<AuthorizerOptions, 'actions'> {
  /** Its path is what is pulled or pushed; its registry is that of the name that the client gave. */
  readonly ref: Reference
  readonly native: Native
}

/**
 * For the repository of `ref`; `actions` is what a token must allow, `pull` if it is left out. Throws `invalid`
 * for credentials of the request that cannot be used.
 */
export function authorizer(context: JobContext, job: RegistryAccess, how: AuthorizerNeeds): Authorizer {
  const { ref, native, actions = 'pull' } = how
  const lookup = credentialLookup(
    { auth: job.auth, domain: ref.domain },
    {
      files: job.authFiles,
      ask: (question) => askHelper(context.scope, { native, dirs: job.helperDirs }, question),
      warn: (message) => context.say({ type: 'warning', message }),
    },
  )
  return new Authorizer({ lookup, repository: ref.path, actions })
}

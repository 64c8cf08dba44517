// SPDX-License-Identifier: Apache-2.0
/** Image requests on the wire. Credentials leave here sealed: they print as nothing, wherever they end up. */
import { Fault } from '../../../base/fault.ts'
import { clip } from '../../../model/ids.ts'
import { type RegistryAuth, type Sealed, seal } from '../../../model/pull-policy.ts'
import { parseReference, type Reference } from '../../../model/reference.ts'
import type { v1 } from '../gen/api.js'
import { Fields } from './fields.ts'

export interface PullRequest {
  readonly reference: Reference
  readonly auth: Sealed<RegistryAuth>
  readonly annotations: Readonly<Record<string, string>>
  /** Empty when the image is for no pod. */
  readonly namespace: string
}

/**
 * `handlers` are the runtime handlers that there are: another one is refused, as api.proto wants it. Which of them
 * is asked for makes no difference to the image: one store serves them all.
 */
export function decodePull(
  request: v1.PullImageRequest.$Properties,
  handlers: Readonly<Record<string, unknown>>,
): PullRequest {
  const f = new Fields()
  const name = f.text('image.image', request.image?.image)
  if (name === '') f.bad('image.image', 'is required')
  const annotations = f.map('image.annotations', request.image?.annotations)
  f.text('image.user_specified_image', request.image?.userSpecifiedImage)
  const handler = f.name('image.runtime_handler', request.image?.runtimeHandler)
  if (handler !== '' && !Object.hasOwn(handlers, handler))
    f.bad(
      'image.runtime_handler',
      `"${clip(handler)}" is not configured here (there is ${Object.keys(handlers).join(', ')})`,
    )
  const namespace = f.name('sandbox_config.metadata.namespace', request.sandboxConfig?.metadata?.namespace)
  f.done('invalid pull')
  return { reference: reference(name), auth: seal(auth(request.auth)), annotations, namespace }
}

function reference(name: string): Reference {
  try {
    return parseReference(name)
  } catch (e) {
    throw Fault.during('image.image', e)
  }
}

function auth(a: v1.AuthConfig.$Properties | null | undefined): RegistryAuth {
  return {
    ...(a?.username ? { username: a.username } : {}),
    ...(a?.password ? { password: a.password } : {}),
    ...(a?.auth ? { auth: a.auth } : {}),
    ...(a?.serverAddress ? { serverAddress: a.serverAddress } : {}),
    ...(a?.identityToken ? { identityToken: a.identityToken } : {}),
    ...(a?.registryToken ? { registryToken: a.registryToken } : {}),
  }
}

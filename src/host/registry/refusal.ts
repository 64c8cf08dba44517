// SPDX-License-Identifier: Apache-2.0
/** A registry's refusal as a Fault: what its status means, and the first sentence of what it says, without secrets. */
import { asFault, Fault, type FaultKind } from '../../base/fault.ts'
import { abortFault } from '../../base/scope.ts'
import { clip } from '../../model/ids.ts'
import { PULL } from '../../model/pull-policy.ts'
import type { Authorizer } from './auth.ts'
import { type HttpReply, readAll, shownUrl } from './http.ts'

/** What a status that nobody wanted means, with what the registry says of it; reads the body. @abort stops */
export async function refusal(
  reply: HttpReply,
  url: URL,
  how: { readonly auth: Authorizer; readonly signal: AbortSignal },
): Promise<Fault> {
  let said = ''
  try {
    const body = await readAll(reply, url, PULL.replyBytes)
    said = clip(how.auth.scrub(registryMessage(body.toString('utf8'))))
  } catch (e) {
    if (how.signal.aborted) return abortFault(how.signal)
    said = asFault(e).message
  }
  const kind = kindOf(reply.status)
  const reason = kind === 'unavailable' ? 'RegistryUnavailable' : undefined
  return new Fault(kind, `${shownUrl(url)}: HTTP ${reply.status}${said === '' ? '' : `: ${said}`}`, {
    reason,
  })
}

function kindOf(status: number): FaultKind {
  if (status === 404) return 'not-found'
  if (status === 401 || status === 403) return 'denied'
  if (status === 400 || status === 405 || status === 406) return 'unsupported'
  return 'unavailable'
}

/** `CODE: message` of the first error in a registry's error body; other bodies say nothing. */
function registryMessage(body: string): string {
  try {
    const parsed: unknown = JSON.parse(body)
    if (typeof parsed !== 'object' || parsed === null) return ''
    const errors: unknown = Reflect.get(parsed, 'errors')
    const first: unknown = Array.isArray(errors) ? errors[0] : undefined
    if (typeof first !== 'object' || first === null) return ''
    const parts: unknown[] = [Reflect.get(first, 'code'), Reflect.get(first, 'message')]
    return parts.filter((p) => typeof p === 'string' && p !== '').join(': ')
  } catch {
    return ''
  }
}

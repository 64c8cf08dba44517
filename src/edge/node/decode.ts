// SPDX-License-Identifier: Apache-2.0
/** Requests of the node service. Credentials leave here sealed, as those of the CRI do. */
import { Fault } from '../../base/fault.ts'
import { LEVELS, type Level } from '../../base/log.ts'
import { clip } from '../../model/ids.ts'
import { type RegistryAuth, type Sealed, seal } from '../../model/pull-policy.ts'
import { parseReference, type Reference } from '../../model/reference.ts'
import { Fields } from '../cri/decode/fields.ts'
import type { v1 } from './gen/api.js'

/** A required text of a request; `invalid` names the field. */
export function required(field: string, value: string | null | undefined): string {
  const f = new Fields()
  const text = f.text(field, value)
  if (text === '') f.bad(field, 'is required')
  f.done('invalid request')
  return text
}

export function reference(field: string, value: string | null | undefined): Reference {
  const text = required(field, value)
  try {
    return parseReference(text)
  } catch (e) {
    throw Fault.during(field, e)
  }
}

export function logLevel(value: string): Level {
  const level = LEVELS.find((known) => known === value)
  if (level === undefined)
    throw new Fault('invalid', `level: "${clip(value)}" is not one of ${LEVELS.join(', ')}`)
  return level
}

export function credentials(c: v1.Credentials.$Properties | null | undefined): Sealed<RegistryAuth> {
  return seal({
    ...(c?.username ? { username: c.username } : {}),
    ...(c?.password ? { password: c.password } : {}),
    ...(c?.identityToken ? { identityToken: c.identityToken } : {}),
    ...(c?.registryToken ? { registryToken: c.registryToken } : {}),
  })
}

// SPDX-License-Identifier: Apache-2.0
/**
 * Bandwidth limits of a pod from the annotations that Kubernetes defines for it, in bits per second. Pure.
 */
import { Fault } from '../../base/fault.ts'
import { clip } from '../ids.ts'

const INGRESS = 'kubernetes.io/ingress-bandwidth'
const EGRESS = 'kubernetes.io/egress-bandwidth'

/** Suffixes of a Kubernetes quantity, as powers of ten and of two. */
const SUFFIXES: Readonly<Record<string, bigint>> = {
  '': 1n,
  k: 10n ** 3n,
  M: 10n ** 6n,
  G: 10n ** 9n,
  T: 10n ** 12n,
  P: 10n ** 15n,
  Ki: 1n << 10n,
  Mi: 1n << 20n,
  Gi: 1n << 30n,
  Ti: 1n << 40n,
  Pi: 1n << 50n,
}
/** What Kubernetes lets through: 1k to 1P. */
const LEAST = 1_000n
const MOST = 10n ** 15n

export interface Bandwidth {
  readonly ingressBps?: bigint
  readonly egressBps?: bigint
}

function bitsPerSecond(name: string, text: string): bigint {
  const found = /^\+?(\d{1,18})(?:\.(\d{1,9}))?([A-Za-z]{0,2})$/.exec(text.trim())
  const unit = SUFFIXES[found?.[3] ?? '']
  if (!found || unit === undefined) {
    throw new Fault('invalid', `config.annotations["${name}"]: "${clip(text)}" is not a quantity, as "10M"`)
  }
  const [, whole = '0', fraction = ''] = found
  const value = (BigInt(whole + fraction) * unit) / 10n ** BigInt(fraction.length)
  if (value >= LEAST && value <= MOST) return value
  throw new Fault(
    'invalid',
    `config.annotations["${name}"]: ${clip(text)} is not within 1k and 1P bits per second`,
  )
}

/** The limits that the annotations ask for; undefined if there are none. Throws `invalid` naming the annotation. */
export function bandwidth(annotations: Readonly<Record<string, string>>): Bandwidth | undefined {
  const [ingress, egress] = [annotations[INGRESS], annotations[EGRESS]]
  if (ingress === undefined && egress === undefined) return undefined
  return {
    ...(ingress === undefined ? {} : { ingressBps: bitsPerSecond(INGRESS, ingress) }),
    ...(egress === undefined ? {} : { egressBps: bitsPerSecond(EGRESS, egress) }),
  }
}

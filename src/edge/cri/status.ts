// SPDX-License-Identifier: Apache-2.0
/**
 * Fault → gRPC status: the only file that names gRPC codes. A new kind of Fault does not compile until it is
 * mapped here. What is not a Fault is a bug: INTERNAL without its text, which goes to the log only.
 */
import { status } from '@grpc/grpc-js'
import { type Fault, type FaultKind, isFault } from '../../base/fault.ts'

const CODES = {
  invalid: status.INVALID_ARGUMENT,
  'not-found': status.NOT_FOUND,
  exists: status.ALREADY_EXISTS,
  'wrong-state': status.FAILED_PRECONDITION,
  denied: status.PERMISSION_DENIED,
  exhausted: status.RESOURCE_EXHAUSTED,
  unavailable: status.UNAVAILABLE,
  timeout: status.DEADLINE_EXCEEDED,
  cancelled: status.CANCELLED,
  unsupported: status.UNIMPLEMENTED,
  corrupt: status.DATA_LOSS,
  internal: status.INTERNAL,
} satisfies Record<FaultKind, status>

/** Words by which the kubelet recognises a reason (k8s.io/cri-api/pkg/errors): they begin the message. */
const KUBELET_WORDS = new Set(['RegistryUnavailable', 'SignatureValidationFailed', 'ImageVolumeMountFailed'])
/** The kubelet looks at the beginning of a failed pull's message, which it puts the code in front of unless that is UNKNOWN. */
const OF_PULLS = new Set(['RegistryUnavailable', 'SignatureValidationFailed'])
/** gRPC sends messages in a header: a longer one makes clients drop the connection. */
const MESSAGE_BYTES = 4096

export interface GrpcError {
  readonly code: status
  readonly details: string
}

export function toGrpc(error: unknown): GrpcError {
  if (!isFault(error)) return { code: status.INTERNAL, details: 'internal error: see the log of gantryd' }
  const code = error.reason && OF_PULLS.has(error.reason) ? status.UNKNOWN : CODES[error.kind]
  return { code, details: message(error) }
}

function message(fault: Fault): string {
  const text =
    fault.reason && KUBELET_WORDS.has(fault.reason) ? `${fault.reason}: ${fault.message}` : fault.message
  return text.length > MESSAGE_BYTES ? `${text.slice(0, MESSAGE_BYTES)}…` : text
}

export const UNIMPLEMENTED: status = status.UNIMPLEMENTED

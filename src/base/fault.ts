// SPDX-License-Identifier: Apache-2.0
/**
 * Fault: the one error class of the project. Thrown where the cause is known, with a kind of a closed union;
 * layers above add context with `Fault.during`, which keeps the kind. What is not a Fault is a bug.
 * It does not know gRPC: `edge/cri/status.ts` maps the kinds.
 */

const kinds = [
  'invalid',
  'not-found',
  'exists',
  'wrong-state',
  'denied',
  'exhausted',
  'unavailable',
  'timeout',
  'cancelled',
  'unsupported',
  'corrupt',
  'internal',
] as const

export type FaultKind = (typeof kinds)[number]

/** Is it the name of a kind? For faults that came over a wire. */
export const isFaultKind = (text: string): text is FaultKind => kinds.some((kind) => kind === text)

export class Fault extends Error {
  readonly kind: FaultKind
  /** A machine-readable refinement that callers may test, for example `bad-command` or `RegistryUnavailable`. */
  readonly reason: string | undefined

  constructor(
    kind: FaultKind,
    message: string,
    options: { cause?: unknown; reason?: string | undefined } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'Fault'
    this.kind = kind
    this.reason = options.reason
  }

  /**
   * The same failure with what was being done in front of it. Keeps kind and reason; an error that is not a
   * Fault becomes `internal`. The original stays as `cause`.
   */
  static during(doing: string, error: unknown): Fault {
    const f = asFault(error)
    return new Fault(f.kind, `${doing}: ${f.message}`, { cause: error, reason: f.reason })
  }
}

export function isFault(error: unknown, kind?: FaultKind): error is Fault {
  return error instanceof Fault && (kind === undefined || error.kind === kind)
}

/** Any thrown value as a Fault: itself, or `internal` with its message. */
export function asFault(error: unknown): Fault {
  if (error instanceof Fault) return error
  if (error instanceof Error) return new Fault('internal', error.message, { cause: error })
  return new Fault('internal', String(error))
}

/** The `code` of a node or addon error (`ENOENT`, …), if it has one. */
export function errnoCode(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined
  const code: unknown = Reflect.get(error, 'code')
  return typeof code === 'string' ? code : undefined
}

/** For `catch`: what is not there (ENOENT) is no error, every other one is thrown on. */
export function unlessMissing(error: unknown): undefined {
  if (errnoCode(error) !== 'ENOENT') throw error
}

// SPDX-License-Identifier: Apache-2.0
/**
 * How a pull may behave: limits on what a registry may send, which failures are tried again and after how
 * long, and the box that keeps credentials out of logs. Numbers and pure rules; nothing here does anything.
 */

export const PULL = {
  /** A manifest or index, bytes: the limit that registries themselves have. */
  manifestBytes: 4 * 1024 * 1024,
  /** An image configuration, bytes. */
  configBytes: 4 * 1024 * 1024,
  /** An answer of a token endpoint or an error body, bytes. */
  replyBytes: 1024 * 1024,
  /** Layers of one image: overlayfs takes 500. */
  layers: 500,
  /** Indexes inside indexes. */
  indexDepth: 4,
  /** Layers fetched and unpacked at once. */
  parallelLayers: 3,
  /** Redirects of one request. */
  redirects: 5,
  /** Attempts of one request at one host. */
  attempts: 5,
  /** Connecting to a host, milliseconds. */
  connectMs: 30_000,
  /** Longest silence of a host in the middle of an answer, milliseconds. */
  stallMs: 60_000,
  /** The same at a host that has another behind it. */
  mirrorStallMs: 15_000,
  /** Fewer bytes than these in so many milliseconds of waiting are too slow, if there is another host. */
  slowBytes: 512 * 1024,
  slowMs: 20_000,
  /** A pull that gets no byte further for so long is given up, milliseconds. */
  noProgressMs: 300_000,
  /** A broken connection that has brought as many bytes does not count as a failed attempt. */
  progressBytes: 64 * 1024,
  /** Blobs of at least this size go through a spool file, in segments and over several connections; bytes. */
  spoolBytes: 32 * 1024 * 1024,
  segmentBytes: 4 * 1024 * 1024,
  /** Connections of one blob. */
  segmentLanes: 4,
  /** Image workers that are started at once; beyond, a job waits for one of them. */
  eagerWorkers: 2,
  /** When none of them was free for so long, more are started, milliseconds: longer than a small pull takes. */
  workerWaitMs: 400,
  /** Workers that wait for the next job, for so long; none is used again when it is older, milliseconds. */
  idleWorkers: 4,
  idleWorkerMs: 3_000,
  workerAgeMs: 60_000,
  /** Longest wait that a `Retry-After` may ask for, milliseconds; a longer one is a failure at once. */
  retryAfterMaxMs: 60_000,
  /** A pull is made durable when no other has ended for so long, milliseconds … */
  settleAfterMs: 500,
  /** … but at the latest after this. */
  settleWithinMs: 5000,
  /** How long what a failed pull has brought is kept for the next attempt, milliseconds. */
  keepUnusedMs: 60 * 60_000,
  /** With less of the disk free than one part in so many, nothing is kept for later. */
  keepFreeShare: 10,
  /** A file with credentials, bytes. */
  authFileBytes: 1024 * 1024,
  /** Longest run of a credential helper, milliseconds. */
  helperMs: 30_000,
  /** First wait between attempts, milliseconds; it doubles. */
  backoffMs: 250,
  /** Longest wait between attempts, milliseconds. */
  backoffMaxMs: 8_000,
} as const

/** How long a host may be silent or slow: the numbers of `PULL`, smaller ones in tests. */
export type PullPace = Readonly<Record<'stallMs' | 'mirrorStallMs' | 'slowBytes' | 'slowMs', number>>

/** Failures of a connection that may pass by themselves. */
const PASSING = new Set([
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
  'EAI_AGAIN',
  'ECONNABORTED',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'HPE_INVALID_EOF_STATE',
])

/** May a request that was answered with `status` be sent again? */
export function isPassingStatus(status: number): boolean {
  return status === 408 || status === 429 || (status >= 500 && status !== 501 && status !== 505)
}

export function isPassingCode(code: string | undefined): boolean {
  return code !== undefined && PASSING.has(code)
}

/**
 * Milliseconds to wait before attempt number `next` (2 is the first repetition), or undefined: give up.
 * `retryAfter` is the header's value; `nowMs` is for its date form; `jitter` is in [0, 1).
 */
export function retryDelayMs(
  next: number,
  how: {
    readonly retryAfter?: string | undefined
    readonly nowMs: number
    readonly jitter: number
    readonly attempts?: number
    /** Longest wait that is worth it. */
    readonly maxWaitMs?: number
  },
): number | undefined {
  if (next > (how.attempts ?? PULL.attempts)) return undefined
  const own = Math.min(PULL.backoffMaxMs, PULL.backoffMs * 2 ** (next - 2)) * (0.75 + how.jitter / 2)
  const asked = retryAfterMs(how.retryAfter, how.nowMs)
  if (asked === undefined) return own
  return asked > (how.maxWaitMs ?? PULL.retryAfterMaxMs) ? undefined : Math.max(asked, own)
}

function retryAfterMs(header: string | undefined, nowMs: number): number | undefined {
  if (header === undefined) return undefined
  if (/^\d{1,9}$/.test(header.trim())) return Number(header.trim()) * 1000
  const at = Date.parse(header)
  return Number.isNaN(at) ? undefined : Math.max(0, at - nowMs)
}

/** A value that shows as `[redacted]` wherever it is printed, and is had only by asking for it. */
export interface Sealed<T> {
  reveal(): T
  toJSON(): string
  toString(): string
}

export function seal<T>(value: T): Sealed<T> {
  const shown = () => '[redacted]'
  return Object.freeze({
    reveal: () => value,
    toJSON: shown,
    toString: shown,
    [Symbol.for('nodejs.util.inspect.custom')]: shown,
  })
}

/** What a client sends to be let in, as the CRI has it. All fields are optional; empty means absent. */
export interface RegistryAuth {
  readonly username?: string
  readonly password?: string
  /** base64 of `username:password`. */
  readonly auth?: string
  /** Host the rest is for; with another host it is not used. */
  readonly serverAddress?: string
  /** OAuth2 refresh token. */
  readonly identityToken?: string
  /** Bearer token that is sent as it is. */
  readonly registryToken?: string
}

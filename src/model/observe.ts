// SPDX-License-Identifier: Apache-2.0
/** Where metrics are served, as an operator writes it. Pure. */

/** Limits of what watches the daemon. */
export const OBSERVE = {
  /** A call older than this is worth a line, milliseconds. */
  stuckMs: 10 * 60_000,
} as const

const LOOPBACK = /^(?:127\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[::1\]):\d{1,5}$/

/** What is wrong with an address for metrics; empty is none. */
export function metricsAddressProblem(text: string): string | undefined {
  if (text === '' || /^unix:\/\/\/[^\0]{1,100}$/.test(text)) return undefined
  const port = Number(/:(\d{1,5})$/.exec(text)?.[1])
  if (LOOPBACK.test(text) && port <= 65_535) return undefined
  return `${JSON.stringify(text)} is neither a loopback address with a port, as "127.0.0.1:9464", nor "unix:///path"`
}

/** Of a good address: what to listen on. */
export function metricsPlace(text: string): {
  readonly path?: string
  readonly host?: string
  readonly port?: number
} {
  if (text.startsWith('unix://')) return { path: text.slice('unix://'.length) }
  const at = text.lastIndexOf(':')
  return { host: text.slice(0, at).replace(/^\[|\]$/g, ''), port: Number(text.slice(at + 1)) }
}

// SPDX-License-Identifier: Apache-2.0
/**
 * Terminal sizes as clients send them: JSON objects `{"Width":80,"Height":24}`, one after another. What is not
 * one is ignored, for a wrong size must not end a session. The last size is kept for whoever asks later.
 */
import type { Readable } from 'node:stream'
import type { TerminalSize } from './channels.ts'
import { STREAMING } from './limits.ts'

const MAX_SIDE = 65_535

/** One message, or undefined. */
export function parseSize(text: string): TerminalSize | undefined {
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value !== 'object' || value === null) return undefined
    const cols: unknown = Reflect.get(value, 'Width')
    const rows: unknown = Reflect.get(value, 'Height')
    const fits = (n: unknown): n is number => Number.isInteger(n) && Number(n) > 0 && Number(n) <= MAX_SIDE
    return fits(cols) && fits(rows) ? { cols, rows } : undefined
  } catch {
    return undefined
  }
}

export interface Resizes {
  /** A whole message. */
  message(text: string): void
  /** Messages one after the other, with or without line ends between them. */
  read(stream: Readable): void
  on(tell: (size: TerminalSize) => void): void
}

export function resizes(): Resizes {
  let last: TerminalSize | undefined
  let tell: ((size: TerminalSize) => void) | undefined
  const message = (text: string) => {
    const size = parseSize(text)
    if (!size) return
    last = size
    tell?.(size)
  }
  return {
    message,
    read(stream) {
      let held = ''
      stream.on('data', (chunk: Buffer) => {
        held += chunk.toString('latin1')
        const parts = held.split('}')
        held = (parts.pop() ?? '').slice(0, STREAMING.resizeBytes)
        for (const part of parts) message(`${part}}`)
      })
    },
    on(callback) {
      tell = callback
      if (last) callback(last)
    },
  }
}

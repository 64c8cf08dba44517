// SPDX-License-Identifier: Apache-2.0
/** The words of an HTTP upgrade: what a client can speak, what is chosen, and the answers as raw HTTP. */
import { STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'

/** The names in a header that may be repeated, or hold several with commas between. */
export function wanted(header: string | readonly string[] | undefined): string[] {
  return [header ?? []]
    .flat()
    .flatMap((line) => line.split(','))
    .map((name) => name.trim())
    .filter((name) => name !== '')
}

/** The first of ours that the client has too. */
export function chosen(known: readonly string[], offered: readonly string[]): string | undefined {
  return known.find((name) => offered.includes(name))
}

/** 101 for SPDY. */
export function switching(socket: Duplex, protocol: string): void {
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: ${protocol}\r\n\r\n`,
  )
}

/** An error instead of an upgrade, and the end of the connection. */
export function refuse(socket: Duplex, status: number, why: string, known: readonly string[] = []): void {
  const accepted = known.map((name) => `X-Accepted-Stream-Protocol-Versions: ${name}\r\n`).join('')
  const body = `${why}\n`
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n${accepted}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  )
}

// SPDX-License-Identifier: Apache-2.0
/** credentials: those that a command is given for one call, on stdin: never in argv, which everybody can read. */
import { Fault } from '../base/fault.ts'
import type { Args } from './args.ts'

const MAX_BYTES = 64 * 1024

export interface Credentials {
  readonly username: string
  readonly password: string
}

/** `USER:PASSWORD`, a line end behind it is none of it. Throws `invalid` without showing what was read. */
export function parseCredentials(text: string): Credentials {
  const line = text.replace(/\r?\n$/, '')
  const colon = line.indexOf(':')
  if (colon < 1 || line.includes('\n'))
    throw new Fault('invalid', '--creds-stdin: stdin is not one line USER:PASSWORD', { reason: 'usage' })
  return { username: line.slice(0, colon), password: line.slice(colon + 1) }
}

/** What `--creds-stdin` asks to read; undefined without it. */
export async function readCredentials(
  args: Args,
  stdin: AsyncIterable<Buffer> & { readonly isTTY?: boolean },
): Promise<Credentials | undefined> {
  if (!args.own.has('creds-stdin')) return undefined
  if (stdin.isTTY)
    throw new Fault('invalid', '--creds-stdin: what you type would be seen: use a pipe or a file', {
      reason: 'usage',
    })
  let text = ''
  for await (const piece of stdin) {
    text += piece.toString('utf8')
    if (text.length > MAX_BYTES) break
  }
  return parseCredentials(text)
}

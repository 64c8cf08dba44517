// SPDX-License-Identifier: Apache-2.0
/** prompt: asks a person on the terminal. Nothing that is typed as a secret is shown or kept. */
import { createInterface } from 'node:readline/promises'
import { Writable } from 'node:stream'
import { Fault } from '../base/fault.ts'

const nowhere = () => new Writable({ write: (_chunk, _encoding, done) => done() })

/**
 * One line from the terminal on stdin; the question goes to stderr. Throws `invalid` (reason `usage`) when stdin
 * is none, `cancelled` (reason `interrupted`) on Ctrl-C or Ctrl-D. @abort stops
 */
export async function ask(question: string, how: { readonly hidden: boolean }): Promise<string> {
  if (!process.stdin.isTTY)
    throw new Fault('invalid', `stdin is no terminal to ask on: ${question}`, { reason: 'usage' })
  const output = how.hidden ? nowhere() : process.stderr
  const lines = createInterface({ input: process.stdin, output, terminal: true, historySize: 0 })
  const { promise: left, reject } = Promise.withResolvers<never>()
  const leave = () => reject(new Fault('cancelled', 'given up', { reason: 'interrupted' }))
  lines.once('SIGINT', leave)
  lines.once('close', leave)
  try {
    if (how.hidden) process.stderr.write(question)
    return await Promise.race([lines.question(how.hidden ? '' : question), left])
  } finally {
    left.catch(() => {})
    lines.close()
    if (how.hidden) process.stderr.write('\n')
  }
}

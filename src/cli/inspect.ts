// SPDX-License-Identifier: Apache-2.0
/** inspect: all that is known of containers, pods and images, as one JSON array. */
import { asFault } from '../base/fault.ts'
import { loadConfig } from '../config/load.ts'
import type { Args } from './args.ts'
import { connectNode } from './node-client.ts'
import { type ExitCode, exitCodes } from './table.ts'

/** `gantry inspect`. Exit code 1 if a word means nothing here; the others are shown. Throws Faults. */
export async function run(args: Args): Promise<ExitCode> {
  const { socket } = loadConfig(args, process.env)
  const kind = args.values.get('type') ?? ''
  using client = await connectNode(socket)
  const found: unknown[] = []
  for (const name of args.words) {
    try {
      const { json } = await client.call('Inspect', { name, kind })
      found.push(JSON.parse(json ?? '{}'))
    } catch (e) {
      const { message, reason } = asFault(e)
      if (reason === 'unreachable') throw e
      process.stderr.write(`gantry: ${message}\n`)
    }
  }
  process.stdout.write(`${JSON.stringify(found, null, 2)}\n`)
  return found.length === args.words.length ? exitCodes.ok : exitCodes.failure
}

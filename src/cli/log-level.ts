// SPDX-License-Identifier: Apache-2.0
/** log-level: tells or changes which lines the log of a running daemon has. */
import { loadConfig } from '../config/load.ts'
import type { Args } from './args.ts'
import { connectNode } from './node-client.ts'
import { type ExitCode, exitCodes } from './table.ts'

/** `gantry log-level`. Throws Faults. */
export async function run(args: Args): Promise<ExitCode> {
  const { socket } = loadConfig(args, process.env)
  using client = await connectNode(socket)
  const { level = '' } = await client.call('LogLevel', { level: args.words[0] ?? '' })
  process.stdout.write(args.own.has('json') ? `${JSON.stringify({ level })}\n` : `${level}\n`)
  return exitCodes.ok
}

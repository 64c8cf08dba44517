// SPDX-License-Identifier: Apache-2.0
/** stats: what pods and containers use, from two looks one second apart, as a table or as JSON. */
import { setTimeout as sleep } from 'node:timers/promises'
import { loadConfig } from '../config/load.ts'
import type { Args } from './args.ts'
import { connectCri } from './client.ts'
import { type ExitCode, exitCodes } from './table.ts'
import { busiestFirst, chosen, look, usageOf, usageTable } from './usage.ts'

const BETWEEN_MS = 1000

/** `gantry stats`. Throws Faults. */
export async function run(args: Args): Promise<ExitCode> {
  const { socket } = loadConfig(args, process.env)
  using client = await connectCri(socket)
  const before = await look(client)
  await sleep(BETWEEN_MS)
  const rows = chosen(busiestFirst(usageOf(before, await look(client))), args.words)
  process.stdout.write(args.own.has('json') ? `${JSON.stringify(rows, null, 2)}\n` : usageTable(rows))
  return exitCodes.ok
}

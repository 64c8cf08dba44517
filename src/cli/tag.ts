// SPDX-License-Identifier: Apache-2.0
/** tag: gives an image one more name. */
import { loadConfig } from '../config/load.ts'
import type { Args } from './args.ts'
import { connectNode } from './node-client.ts'
import { type ExitCode, exitCodes } from './table.ts'

/** `gantry tag`. Says nothing when it has worked, as docker does. Throws Faults. */
export async function run(args: Args): Promise<ExitCode> {
  const { socket } = loadConfig(args, process.env)
  const [image = '', name = ''] = args.words
  using client = await connectNode(socket)
  const tagged = await client.call('Tag', { image, name })
  if (args.own.has('json'))
    process.stdout.write(`${JSON.stringify({ id: tagged.id ?? '', name: tagged.name ?? '' }, null, 2)}\n`)
  return exitCodes.ok
}

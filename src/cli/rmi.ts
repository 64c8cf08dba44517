// SPDX-License-Identifier: Apache-2.0
/** rmi: takes names of images away; one that fails does not keep the others from being tried. */
import { asFault, isFault } from '../base/fault.ts'
import { loadConfig } from '../config/load.ts'
import type { Args } from './args.ts'
import { connectNode } from './node-client.ts'
import { type ExitCode, exitCodes } from './table.ts'

/** `gantry rmi`. Exit code 1 if one of them is not here, unless forced. Throws Faults. */
export async function run(args: Args): Promise<ExitCode> {
  const { socket } = loadConfig(args, process.env)
  const json = args.own.has('json')
  using client = await connectNode(socket)
  const done: { image: string; untagged: readonly string[]; removed: string; error?: string }[] = []
  for (const image of args.words) {
    try {
      const { untagged, removedId } = await client.call('Remove', { image })
      done.push({ image, untagged: untagged ?? [], removed: removedId ?? '' })
      if (json) continue
      for (const name of untagged ?? []) process.stdout.write(`untagged: ${name}\n`)
      if (removedId) process.stdout.write(`removed: ${removedId}\n`)
    } catch (e) {
      const { message, reason } = asFault(e)
      if (reason === 'unreachable') throw e
      if (isFault(e, 'not-found') && args.own.has('force')) continue
      done.push({ image, untagged: [], removed: '', error: message })
      process.stderr.write(`gantry: ${message}\n`)
    }
  }
  if (json) process.stdout.write(`${JSON.stringify(done, null, 2)}\n`)
  return done.some((d) => d.error !== undefined) ? exitCodes.failure : exitCodes.ok
}

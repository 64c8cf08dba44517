// SPDX-License-Identifier: Apache-2.0
/** diff: what a container, or the topmost layer of an image, has changed: one line a path, or JSON. */
import { loadConfig } from '../config/load.ts'
import type { Args } from './args.ts'
import { connectNode } from './node-client.ts'
import { type ExitCode, exitCodes } from './table.ts'
import { safe } from './text.ts'

const letters: Readonly<Record<string, string>> = { added: 'A', changed: 'C', deleted: 'D' }

/** `gantry diff`. Throws Faults. */
export async function run(args: Args): Promise<ExitCode> {
  const { socket } = loadConfig(args, process.env)
  using client = await connectNode(socket)
  const reply = await client.call('Diff', { name: args.words[0] ?? '', kind: args.values.get('type') ?? '' })
  const entries = (reply.entries ?? []).map((e) => ({ kind: e.kind ?? '', path: e.path ?? '' }))
  const truncated = reply.truncated ?? false
  process.stdout.write(
    args.own.has('json')
      ? `${JSON.stringify({ entries, truncated }, null, 2)}\n`
      : entries.map((e) => `${letters[e.kind] ?? '?'} ${safe(e.path)}\n`).join(''),
  )
  if (truncated) process.stderr.write('gantry: warning: there are more changes than are shown\n')
  return exitCodes.ok
}

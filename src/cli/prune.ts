// SPDX-License-Identifier: Apache-2.0
/** prune: says which images nothing needs, asks, and removes them. */
import { Fault } from '../base/fault.ts'
import { loadConfig } from '../config/load.ts'
import type { Args } from './args.ts'
import { type Image, imageOf } from './images.ts'
import { connectNode, type NodeClient } from './node-client.ts'
import { ask } from './prompt.ts'
import { type ExitCode, exitCodes } from './table.ts'
import { shortId, sizeText } from './text.ts'

interface Pruned {
  readonly images: readonly Image[]
  readonly freedBytes: number
}

async function prune(
  client: NodeClient,
  how: { readonly all: boolean; readonly dryRun: boolean },
): Promise<Pruned> {
  const { images, freedBytes } = await client.call('Prune', how)
  return { images: (images ?? []).map(imageOf), freedBytes: Number(freedBytes ?? 0) }
}

const line = ({ id, tags, digests, sizeBytes }: Image): string =>
  `${shortId(id)}  ${[...tags, ...digests].slice(0, 3).join(', ') || '<none>'}  ${sizeText(sizeBytes)}\n`

/** The images, one a line, and how much they free. Pure. */
export const prunedText = ({ images, freedBytes }: Pruned, word: string): string =>
  `${images.map((i) => `${word}: ${line(i)}`).join('')}${word === 'removed' ? 'freed' : 'would free'}: ${sizeText(freedBytes)}\n`

/** Yes only for `y` or `yes`. Throws `invalid` where nobody can be asked. */
async function confirmed(question: string): Promise<boolean> {
  if (!process.stdin.isTTY)
    throw new Fault('invalid', 'prune: there is no terminal to ask on: say --force, or --dry-run', {
      reason: 'usage',
    })
  return /^y(es)?$/i.test((await ask(question, { hidden: false })).trim())
}

/** `gantry prune`. Throws Faults. */
export async function run(args: Args): Promise<ExitCode> {
  const { socket } = loadConfig(args, process.env)
  const [json, all, dryRun] = [args.own.has('json'), args.own.has('all'), args.own.has('dry-run')]
  using client = await connectNode(socket)
  if (!dryRun && !args.own.has('force')) {
    const found = await prune(client, { all, dryRun: true })
    if (found.images.length > 0) {
      process.stderr.write(prunedText(found, 'would remove'))
      const what = found.images.length === 1 ? 'this image' : `these ${found.images.length} images`
      if (!(await confirmed(`remove ${what}? [y/N] `))) return exitCodes.ok
    }
  }
  const pruned = await prune(client, { all, dryRun })
  process.stdout.write(
    json ? `${JSON.stringify(pruned, null, 2)}\n` : prunedText(pruned, dryRun ? 'would remove' : 'removed'),
  )
  return exitCodes.ok
}

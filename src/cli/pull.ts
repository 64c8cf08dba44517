// SPDX-License-Identifier: Apache-2.0
/** pull: fetches images, one after the other; one that fails does not keep the others from being tried. */
import { asFault } from '../base/fault.ts'
import { loadConfig } from '../config/load.ts'
import type { Args } from './args.ts'
import { readCredentials } from './credentials.ts'
import { connectNode, ended, interruptible, type NodeClient } from './node-client.ts'
import { progressView } from './progress.ts'
import { type ExitCode, exitCodes } from './table.ts'
import { shortId, sizeText } from './text.ts'

interface Pulled {
  readonly image: string
  readonly name: string
  readonly id: string
  readonly digest: string
  readonly sizeBytes: number
}

/** `gantry pull`. Exit code 1 if one of the images could not be had. Throws Faults. */
export async function run(args: Args): Promise<ExitCode> {
  const { socket } = loadConfig(args, process.env)
  const credentials = await readCredentials(args, process.stdin)
  const [json, quiet] = [args.own.has('json'), args.own.has('quiet')]
  using client = await connectNode(socket)
  return await interruptible(async (signal) => {
    const done: (Pulled | { readonly image: string; readonly error: string })[] = []
    for (const image of args.words) {
      try {
        const request = credentials === undefined ? { image } : { image, credentials }
        const pulled = await pullOne(client, request, { signal, quiet: quiet || json })
        done.push(pulled)
        if (!json) process.stdout.write(quiet ? `${pulled.id}\n` : sentence(pulled))
      } catch (e) {
        const { message, reason } = asFault(e)
        if (signal.aborted || reason === 'unreachable') throw e
        done.push({ image, error: message })
        process.stderr.write(`gantry: ${message}\n`)
      }
    }
    if (json) process.stdout.write(`${JSON.stringify(done, null, 2)}\n`)
    return done.some((d) => 'error' in d) ? exitCodes.failure : exitCodes.ok
  })
}

const sentence = (p: Pulled): string => `${p.name}: ${shortId(p.id)}, ${sizeText(p.sizeBytes)}\n`

async function pullOne(
  client: NodeClient,
  request: { readonly image: string },
  how: { readonly signal: AbortSignal; readonly quiet: boolean },
): Promise<Pulled> {
  using view = progressView(process.stderr, process.env, how.quiet)
  let pulled: Pulled | undefined
  for await (const { progress, done } of client.stream('Pull', request, how.signal)) {
    if (progress) view.show(progress.layers ?? [])
    if (done)
      pulled = {
        image: request.image,
        name: done.name ?? '',
        id: done.id ?? '',
        digest: done.digest ?? '',
        sizeBytes: Number(done.sizeBytes ?? 0),
      }
  }
  return ended(pulled)
}

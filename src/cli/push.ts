// SPDX-License-Identifier: Apache-2.0
/** push: sends one image to a registry. */
import { loadConfig } from '../config/load.ts'
import type { Args } from './args.ts'
import { readCredentials } from './credentials.ts'
import { connectNode, ended, interruptible } from './node-client.ts'
import { progressView } from './progress.ts'
import { type ExitCode, exitCodes } from './table.ts'
import { warningLines } from './text.ts'

/** `gantry push`. Throws Faults. */
export async function run(args: Args): Promise<ExitCode> {
  const { socket } = loadConfig(args, process.env)
  const credentials = await readCredentials(args, process.stdin)
  const [json, quiet] = [args.own.has('json'), args.own.has('quiet')]
  const [image = '', target = ''] = args.words
  using client = await connectNode(socket)
  const pushed = await interruptible(async (signal) => {
    using view = progressView(process.stderr, process.env, quiet || json)
    const request = { image, target, ...(credentials === undefined ? {} : { credentials }) }
    let last: { name: string; digest: string; warnings: readonly string[] } | undefined
    for await (const { progress, done } of client.stream('Push', request, signal)) {
      if (progress) view.show(progress.layers ?? [])
      if (done) last = { name: done.name ?? '', digest: done.digest ?? '', warnings: done.warnings ?? [] }
    }
    return ended(last)
  })
  process.stderr.write(warningLines(pushed.warnings))
  if (json) process.stdout.write(`${JSON.stringify(pushed, null, 2)}\n`)
  else process.stdout.write(quiet ? `${pushed.digest}\n` : `${pushed.name}: ${pushed.digest}\n`)
  return exitCodes.ok
}

// SPDX-License-Identifier: Apache-2.0
/** load: takes the images of an archive, from a file or from stdin. */
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { Fault } from '../base/fault.ts'
import { loadConfig } from '../config/load.ts'
import type { Args } from './args.ts'
import { connectNode, ended, interruptible } from './node-client.ts'
import { progressView } from './progress.ts'
import { type ExitCode, exitCodes } from './table.ts'
import { shortId, warningLines } from './text.ts'

/** The bytes of the archive; throws a Fault that names the file. */
async function* bytesOf(path: string): AsyncGenerator<Buffer> {
  try {
    yield* path === '-' ? process.stdin : createReadStream(path, { highWaterMark: 256 * 1024 })
  } catch (e) {
    throw Fault.during(`cannot read ${path === '-' ? 'stdin' : path}`, e)
  }
}

/** The archive as if it were a layer: what is shown until its layers are known. */
const archive = (readBytes: bigint | null | undefined, size: number) => ({
  digest: 'archive',
  state: 'reading',
  doneBytes: readBytes ?? 0n,
  totalBytes: BigInt(size),
})

/** `gantry load`. Throws Faults. */
export async function run(args: Args): Promise<ExitCode> {
  const input = args.values.get('input') ?? '-'
  if (input === '-' && process.stdin.isTTY)
    throw new Fault('invalid', 'load: nobody types an archive: say --input=FILE, or send one to stdin', {
      reason: 'usage',
    })
  const { socket } = loadConfig(args, process.env)
  const [json, quiet] = [args.own.has('json'), args.own.has('quiet')]
  const size = input === '-' ? 0 : ((await stat(input).catch(() => undefined))?.size ?? 0)
  using client = await connectNode(socket)
  const loaded = await interruptible(async (signal) => {
    using view = progressView(process.stderr, process.env, quiet || json)
    let last: { images: { id: string; names: readonly string[] }[]; warnings: readonly string[] } | undefined
    for await (const { progress, done } of client.load(bytesOf(input), signal)) {
      if (progress) view.show(progress.layers?.length ? progress.layers : [archive(progress.readBytes, size)])
      if (done) {
        const images = (done.images ?? []).map((i) => ({ id: i.id ?? '', names: i.names ?? [] }))
        last = { images, warnings: done.warnings ?? [] }
      }
    }
    return ended(last)
  })
  process.stderr.write(warningLines(loaded.warnings))
  if (json) process.stdout.write(`${JSON.stringify(loaded, null, 2)}\n`)
  else
    for (const { id, names } of loaded.images)
      for (const name of names.length > 0 ? names : [id])
        process.stdout.write(quiet || names.length === 0 ? `${name}\n` : `${name}: ${shortId(id)}\n`)
  return exitCodes.ok
}

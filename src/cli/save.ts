// SPDX-License-Identifier: Apache-2.0
/**
 * save: an archive of images, into a file or into stdout. A file gets its name when it is whole, so a failure or
 * Ctrl-C leaves none; what is no plain file, a device or a pipe, is written as it is.
 */
import { once } from 'node:events'
import { createWriteStream } from 'node:fs'
import { rename, rm, stat } from 'node:fs/promises'
import type { Writable } from 'node:stream'
import { Fault } from '../base/fault.ts'
import { loadConfig } from '../config/load.ts'
import { clip } from '../model/ids.ts'
import type { Args } from './args.ts'
import { connectNode, ended, interruptible, type NodeClient } from './node-client.ts'
import { progressView } from './progress.ts'
import { type ExitCode, exitCodes } from './table.ts'
import { sizeText, warningLines } from './text.ts'

interface Saved {
  readonly images: readonly { readonly id: string; readonly names: readonly string[] }[]
  readonly warnings: readonly string[]
  readonly bytes: number
}

const SHOW_MS = 100

const wrong = (why: string): Fault => new Fault('invalid', why, { reason: 'usage' })

/** `gantry save`. Throws Faults. */
export async function run(args: Args): Promise<ExitCode> {
  const format = args.values.get('format') ?? 'docker'
  if (format !== 'docker' && format !== 'oci')
    throw wrong(`--format: "${clip(format)}" is neither docker nor oci`)
  const output = args.values.get('output') ?? '-'
  const toStdout = output === '-'
  if (toStdout && args.own.has('json')) throw wrong('save: --json needs --output: stdout has the archive')
  if (toStdout && process.stdout.isTTY)
    throw wrong('save: an archive is nothing for a terminal: say --output=FILE, or send stdout elsewhere')
  const { socket } = loadConfig(args, process.env)
  using client = await connectNode(socket)
  const saved = await interruptible((signal) => {
    // A line for a state that does not change says nothing.
    const quiet = toStdout || !process.stderr.isTTY || args.own.has('json')
    const work = (to: Writable) => archive(client, { images: [...args.words], format }, { to, signal, quiet })
    return toStdout ? intoStdout(work) : intoFile(output, work)
  })
  process.stderr.write(warningLines(saved.warnings))
  if (args.own.has('json')) process.stdout.write(`${JSON.stringify({ ...saved, file: output }, null, 2)}\n`)
  else if (!toStdout)
    process.stderr.write(
      `${output}: ${saved.images.length} image${saved.images.length === 1 ? '' : 's'}, ${sizeText(saved.bytes)}\n`,
    )
  return exitCodes.ok
}

async function archive(
  client: NodeClient,
  request: { readonly images: string[]; readonly format: string },
  how: { readonly to: Writable; readonly signal: AbortSignal; readonly quiet: boolean },
): Promise<Saved> {
  using view = progressView(process.stderr, process.env, how.quiet)
  let bytes = 0
  let shownMs = 0
  let saved: Saved | undefined
  for await (const { chunk, done } of client.stream('Save', request, how.signal)) {
    if (chunk) {
      bytes += chunk.length
      if (!how.to.write(chunk)) await once(how.to, 'drain')
      if (performance.now() - shownMs > SHOW_MS) {
        view.show([{ digest: 'archive', state: 'writing', doneBytes: BigInt(bytes) }])
        shownMs = performance.now()
      }
    }
    if (done) {
      const images = (done.images ?? []).map((i) => ({ id: i.id ?? '', names: i.names ?? [] }))
      saved = { images, warnings: done.warnings ?? [], bytes }
    }
  }
  return ended(saved)
}

/** A reader that leaves early has no whole archive: that is a failure, unlike with a list. */
async function intoStdout(work: (to: Writable) => Promise<Saved>): Promise<Saved> {
  process.exitCode = exitCodes.failure
  const saved = await work(process.stdout)
  await new Promise<void>((resolve) => process.stdout.write('', () => resolve()))
  return saved
}

async function intoFile(path: string, work: (to: Writable) => Promise<Saved>): Promise<Saved> {
  const there = await stat(path).catch(() => undefined)
  if (there?.isDirectory()) throw wrong(`--output: ${path} is a folder`)
  const plain = there === undefined || there.isFile()
  const part = plain ? `${path}.part-${process.pid}` : path
  const file = createWriteStream(part)
  const { promise: broken, reject } = Promise.withResolvers<never>()
  broken.catch(() => {})
  file.on('error', (e) => reject(Fault.during(`cannot write ${part}`, e)))
  try {
    const written = async (): Promise<Saved> => {
      const saved = await work(file)
      file.end()
      await once(file, 'close')
      return saved
    }
    const saved = await Promise.race([written(), broken])
    if (plain) await rename(part, path)
    return saved
  } catch (e) {
    file.destroy()
    if (plain) await rm(part, { force: true })
    throw e
  }
}

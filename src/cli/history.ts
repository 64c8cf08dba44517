// SPDX-License-Identifier: Apache-2.0
/** history: the steps by which an image was built, as a table or as JSON. */
import { loadConfig } from '../config/load.ts'
import type { Args } from './args.ts'
import { connectNode } from './node-client.ts'
import { type ExitCode, exitCodes } from './table.ts'
import { ageText, cut, safe, sizeText, table } from './text.ts'

export interface Step {
  readonly createdAt: string
  readonly createdBy: string
  readonly comment: string
  /** Empty: a step without a layer. */
  readonly diffId: string
  readonly sizeBytes: number
}

const BY = 60

/** The table, commands cut unless `noTrunc`. Pure. */
export function historyTable(
  steps: readonly Step[],
  look: { readonly noTrunc: boolean; readonly nowMs: number },
): string {
  return table(
    ['CREATED', 'SIZE', 'CREATED BY', 'COMMENT'],
    steps.map((s) => [
      ageText(s.createdAt, look.nowMs),
      s.diffId === '' ? '-' : sizeText(s.sizeBytes),
      look.noTrunc ? safe(s.createdBy) : cut(safe(s.createdBy.replace(/\s+/g, ' ')), BY),
      safe(s.comment),
    ]),
  )
}

/** `gantry history`. Throws Faults. */
export async function run(args: Args): Promise<ExitCode> {
  const { socket } = loadConfig(args, process.env)
  using client = await connectNode(socket)
  const reply = await client.call('History', { image: args.words[0] ?? '' })
  const steps = (reply.steps ?? []).map((s) => ({
    createdAt: s.createdAt ?? '',
    createdBy: s.createdBy ?? '',
    comment: s.comment ?? '',
    diffId: s.diffId ?? '',
    sizeBytes: Number(s.sizeBytes ?? 0),
  }))
  process.stdout.write(
    args.own.has('json')
      ? `${JSON.stringify({ id: reply.id ?? '', steps }, null, 2)}\n`
      : historyTable(steps, { noTrunc: args.own.has('no-trunc'), nowMs: Date.now() }),
  )
  return exitCodes.ok
}

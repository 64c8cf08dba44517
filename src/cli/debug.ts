// SPDX-License-Identifier: Apache-2.0
/** debug dump: what the daemon is at, as a screen or as JSON. Knows the shape of the dump and asks nothing else. */
import { loadConfig } from '../config/load.ts'
import type { dump } from '../snapshot.ts'
import type { Args } from './args.ts'
import { connectNode } from './node-client.ts'
import { type ExitCode, exitCodes } from './table.ts'
import { sizeText, table } from './text.ts'

export type Dump = Awaited<ReturnType<typeof dump>>

const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`

/** The screen. Pure. */
export function dumpScreen(d: Dump): string {
  const counts = (of: Readonly<Record<string, number>>) =>
    Object.entries(of)
      .map(([name, count]) => `${count} ${name}`)
      .join(', ') || 'none'
  const part = (title: string, heading: readonly string[], rows: readonly (readonly string[])[]) =>
    `\n${title}: ${rows.length === 0 ? 'none\n' : `\n${table(heading, rows)}`}`
  const { pods, containers, images } = d.catalog
  return [
    `gantryd ${d.version}, pid ${d.pid}, up ${seconds(d.uptimeMs)}, ${seconds(d.cpuSeconds * 1000)} of processor time\n`,
    `pods:        ${counts(pods)}\n`,
    `containers:  ${counts(containers)}\n`,
    `images:      ${counts(images)}\n`,
    `memory:      ${sizeText(d.memory.rss)} resident, heap ${sizeText(d.memory.heapUsed)} of ${sizeText(d.memory.heapTotal)}, buffers ${sizeText(d.memory.arrayBuffers)}\n`,
    `descriptors: ${counts(d.fds)}\n`,
    `quarantine:  ${d.quarantined}\n`,
    part(
      'jobs',
      ['AGE', 'CALL', 'RPC', 'STAGE'],
      d.jobs.map((job) => [
        seconds(job.ageMs),
        String(job.call),
        job.rpc || '(own work)',
        job.stages.map((s) => `${s.stage} for ${seconds(s.ageMs)}`).join(', ') || '-',
      ]),
    ),
    part(
      'locks',
      ['WAITING', 'KEY', 'HELD BY'],
      d.locks.map((l) => [String(l.waiting), l.key, l.holders.join(', ')]),
    ),
    part(
      'pulls',
      ['CALLS', 'IMAGE'],
      d.pulls.map((p) => [String(p.callers), p.reference]),
    ),
    part(
      'leftovers',
      ['KIND', 'ID', 'UNFINISHED', 'WHY'],
      d.leftovers.map((l) => [l.kind, l.id.slice(0, 13), l.unfinished.join(', '), l.why]),
    ),
    part(
      'problems',
      ['WHAT'],
      d.problems.map((p) => [p]),
    ),
  ].join('')
}

/** `gantry debug dump`. Throws Faults. */
export async function run(args: Args): Promise<ExitCode> {
  const { socket } = loadConfig(args, process.env)
  using client = await connectNode(socket)
  const { json } = await client.call('Dump', {})
  const found: Dump = JSON.parse(json ?? '{}')
  process.stdout.write(args.own.has('json') ? `${JSON.stringify(found, null, 2)}\n` : dumpScreen(found))
  return exitCodes.ok
}

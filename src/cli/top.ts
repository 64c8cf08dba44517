// SPDX-License-Identifier: Apache-2.0
/**
 * top: what pods and containers use, again and again until Ctrl-C, the busiest first and as many as the terminal has
 * lines. Where there is no terminal, and with `--once`, it is one picture and the end.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { Fault } from '../base/fault.ts'
import { loadConfig } from '../config/load.ts'
import type { Args } from './args.ts'
import { connectCri } from './client.ts'
import { painter } from './paint.ts'
import { type ExitCode, exitCodes } from './table.ts'
import { cut } from './text.ts'
import { busiestFirst, chosen, type Look, look, type Usage, usageOf, usageTable } from './usage.ts'

const EVERY_S = 2
/** Until the first picture: rates need two looks. */
const FIRST_MS = 1000
/** To the upper left corner, and nothing below; the cursor out of the way. */
const CLEAR = '\x1b[H\x1b[J'
const HIDE = '\x1b[?25l'
const SHOW = '\x1b[?25h'

interface Screen {
  readonly rows: number
  readonly columns: number
}

/** One picture: a line of sums, then the table, cut to the screen. Pure. */
export function picture(all: readonly Usage[], screen: Screen | undefined): readonly string[] {
  const pods = all.filter((u) => u.kind === 'pod')
  const cores = pods.reduce((sum, u) => sum + (u.cpuCores ?? 0), 0)
  const head = `${pods.length} pods, ${all.length - pods.length} containers, ${cores.toFixed(2)} cores`
  const lines = [head, '', ...usageTable(all).trimEnd().split('\n')]
  if (!screen) return lines
  return lines.slice(0, Math.max(1, screen.rows - 1)).map((line) => cut(line, screen.columns))
}

function interval(text: string | undefined): number {
  const seconds = Number(text ?? EVERY_S)
  if (text !== '' && seconds >= 0.5 && seconds <= 3600) return seconds * 1000
  throw new Fault('invalid', '--interval: seconds from 0.5 to 3600', { reason: 'usage' })
}

/** `gantry top`. Throws Faults. */
export async function run(args: Args): Promise<ExitCode> {
  const everyMs = interval(args.values.get('interval'))
  const { socket } = loadConfig(args, process.env)
  const { stdout } = process
  const isLive = stdout.isTTY && !args.own.has('once')
  const paint = painter(stdout, process.env)
  const stop = new AbortController()
  process.once('SIGINT', () => stop.abort())
  process.once('SIGTERM', () => stop.abort())
  using client = await connectCri(socket)
  let before: Look = await look(client)
  if (isLive) stdout.write(HIDE)
  try {
    for (let waitMs = FIRST_MS; ; waitMs = everyMs) {
      await sleep(waitMs, undefined, { signal: stop.signal }).catch(() => {})
      if (stop.signal.aborted) return exitCodes.ok
      const now = await look(client)
      const all = chosen(busiestFirst(usageOf(before, now)), args.words)
      const [head = '', ...lines] = picture(
        all,
        isLive ? { rows: stdout.rows, columns: stdout.columns } : undefined,
      )
      stdout.write(`${isLive ? CLEAR : ''}${[paint('bold', head), ...lines].join('\n')}\n`)
      if (!isLive) return exitCodes.ok
      before = now
    }
  } finally {
    if (isLive) stdout.write(SHOW)
  }
}

// SPDX-License-Identifier: Apache-2.0
/**
 * progress: how layers come along: a bar for each on a terminal, drawn over the last ones, and elsewhere a line
 * when the state of one has changed. Drawing is pure; the view owns the lines that it has drawn.
 */
import type { Paint } from './paint.ts'
import { painter } from './paint.ts'
import { cut, shortId, sizeText } from './text.ts'

/** A layer as the daemon tells it; what is missing is unknown. */
export interface LayerProgress {
  readonly digest?: string | null
  readonly doneBytes?: bigint | null
  readonly totalBytes?: bigint | null
  /** Of the fetched bytes, what went into the unpacker. */
  readonly unpackedBytes?: bigint | null
  readonly state?: string | null
}

interface Layer {
  readonly id: string
  readonly done: number
  readonly total: number
  readonly state: string
}

function layerOf(l: LayerProgress): Layer {
  const [fetched, total] = [Number(l.doneBytes ?? 0), Number(l.totalBytes ?? 0)]
  const guess = total > 0 && fetched >= total ? 'done' : fetched > 0 ? 'fetching' : 'waiting'
  const state = l.state || guess
  const done = state === 'unpacking' ? Number(l.unpackedBytes ?? fetched) : fetched
  return { id: shortId(l.digest ?? ''), done, total, state }
}

const isDone = ({ state }: Layer): boolean => state === 'done' || state === 'had'

const BAR = 30
const ID = 12
const STATE = 10

function sizesText(layer: Layer): string {
  const { done, total } = layer
  if (total === 0) return done === 0 ? '' : sizeText(done)
  return done >= total || isDone(layer) ? sizeText(total) : `${sizeText(done)} of ${sizeText(total)}`
}

/** `0123456789ab  fetching    [=====>    ]  1.5 MiB of 3.0 MiB`, not wider than `columns`. */
function bar(layer: Layer, columns: number, paint: Paint): string {
  const { id, done, total, state } = layer
  const share = isDone(layer) ? 1 : total > 0 ? Math.min(1, done / total) : 0
  const sizes = sizesText(layer)
  const width = Math.max(0, Math.min(BAR, columns - ID - STATE - 32))
  const full = Math.round(share * width)
  const filled = '='.repeat(full).replace(/=$/, full === width ? '=' : '>')
  const shape = width < 5 ? '' : `[${filled.padEnd(width)}]  `
  const text = cut(`${id.padEnd(ID)}  ${state.padEnd(STATE)}  ${shape}${sizes}`, columns - 1)
  return isDone(layer) ? paint('dim', text) : text
}

export interface Screen {
  readonly columns: number
  readonly rows: number
  readonly paint: Paint
}

/** The lines of all layers, at most as many as the screen has rows: the rest is counted. Pure. */
export function bars(layers: readonly LayerProgress[], { columns, rows, paint }: Screen): string[] {
  const all = layers.map(layerOf)
  const room = Math.max(1, rows - 2)
  if (all.length <= room) return all.map((l) => bar(l, columns, paint))
  // What moves is worth the room.
  const moving = all.filter((l) => !isDone(l) && l.state !== 'waiting')
  const shown = [...moving, ...all.filter((l) => !moving.includes(l))].slice(0, room - 1)
  const done = all.filter(isDone).length
  return [
    ...all.filter((l) => shown.includes(l)).map((l) => bar(l, columns, paint)),
    cut(`${all.length - shown.length} more layers; ${done} of ${all.length} are done`, columns - 1),
  ]
}

/** A line for each layer whose state is another than in `before`, which is brought up to date. */
export function changes(before: Map<string, string>, layers: readonly LayerProgress[]): string[] {
  const lines: string[] = []
  for (const { id, total, state } of layers.map(layerOf)) {
    if (before.get(id) === state || (state === 'waiting' && !before.has(id))) continue
    before.set(id, state)
    lines.push(`${id}: ${state}${total === 0 ? '' : `, ${sizeText(total)}`}`)
  }
  return lines
}

/** What of a stream is used; `process.stderr` is one. */
export interface Terminal {
  readonly isTTY?: boolean
  readonly columns?: number
  readonly rows?: number
  write(text: string): unknown
}

export interface ProgressView extends Disposable {
  show(layers: readonly LayerProgress[]): void
}

/** Shows nothing if `quiet`. Disposing leaves the last state on the screen. */
export function progressView(
  stream: Terminal,
  env: Readonly<Record<string, string | undefined>>,
  quiet: boolean,
): ProgressView {
  if (quiet) return { show: () => {}, [Symbol.dispose]: () => {} }
  if (stream.isTTY !== true || env.TERM === 'dumb') {
    const states = new Map<string, string>()
    return {
      show: (layers) => {
        for (const line of changes(states, layers)) stream.write(`${line}\n`)
      },
      [Symbol.dispose]: () => {},
    }
  }
  const paint = painter(stream, env)
  let drawn = 0
  return {
    show: (layers) => {
      const lines = bars(layers, { columns: stream.columns || 80, rows: stream.rows || 24, paint })
      const up = drawn > 0 ? `\x1b[${drawn}A\r` : ''
      stream.write(`${up}\x1b[J${lines.map((line) => `${line}\n`).join('')}`)
      drawn = lines.length
    },
    [Symbol.dispose]: () => {
      drawn = 0
    },
  }
}

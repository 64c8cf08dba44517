// SPDX-License-Identifier: Apache-2.0
/**
 * Makes spans of what has ended: one a call, which continues the caller's trace, and one below it for each of its
 * stages. Decides what is sampled: as the caller says, else by chance. Attributes are names and codes, never what was
 * asked or answered. Sends nothing.
 */
import { randomBytes } from 'node:crypto'
import { codeName } from './metrics.ts'
import type { EndedStage, EndedTask } from './protocol.ts'

/** Calls whose stages wait for their end; the oldest are forgotten. */
const WAITING = 1024
const INTERNAL = 1
const SERVER = 2
const ERROR = 2

/** In the form of OTLP's JSON. */
export interface Span {
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId?: string
  readonly name: string
  readonly kind: number
  readonly startTimeUnixNano: string
  readonly endTimeUnixNano: string
  readonly attributes: readonly Attribute[]
  readonly status: { readonly code?: number; readonly message?: string }
}

export interface Attribute {
  readonly key: string
  readonly value: { readonly stringValue: string } | { readonly intValue: string }
}

export const attribute = (key: string, value: string | number): Attribute => ({
  key,
  value: typeof value === 'string' ? { stringValue: value } : { intValue: String(value) },
})

interface Context {
  readonly traceId: string
  readonly parentId?: string
  readonly sampled: boolean
}

/** The context in a `traceparent` header of W3C; undefined if it is none. */
export function parseTraceparent(text: string | undefined): Context | undefined {
  const found = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/.exec(text ?? '')
  if (!found) return undefined
  const [, version, traceId = '', parentId = '', flags = '', more] = found
  if (version === 'ff' || (version === '00' && more !== undefined)) return undefined
  if (/^0+$/.test(traceId) || /^0+$/.test(parentId)) return undefined
  return { traceId, parentId, sampled: (Number.parseInt(flags, 16) & 1) === 1 }
}

const hex = (bytes: number): string => randomBytes(bytes).toString('hex')
const nanos = (ms: number): string =>
  String(BigInt(Math.trunc(ms)) * 1_000_000n + BigInt(Math.round((ms % 1) * 1e6)))

export interface Spans {
  stage(ended: EndedStage): readonly Span[]
  task(ended: EndedTask): readonly Span[]
}

/** `ratio`: how many of the traces that begin here are sampled. */
export function spans(ratio: number, chance: () => number = Math.random): Spans {
  const waiting = new Map<number, EndedStage[]>()
  const begin = (): Context => ({ traceId: hex(16), sampled: chance() < ratio })
  return {
    stage(ended) {
      if (ended.task === 0) {
        const context = begin()
        return context.sampled ? [stageSpan(context, ended)] : []
      }
      const known = waiting.get(ended.task)
      if (known) known.push(ended)
      else waiting.set(ended.task, [ended])
      const [oldest] = waiting.keys()
      if (waiting.size > WAITING && oldest !== undefined) waiting.delete(oldest)
      return []
    },
    task(ended) {
      const stages = waiting.get(ended.id) ?? []
      waiting.delete(ended.id)
      const context = parseTraceparent(ended.traceparent) ?? begin()
      if (!context.sampled) return []
      const span = taskSpan(context, ended)
      return [span, ...stages.map((s) => stageSpan({ ...context, parentId: span.spanId }, s))]
    },
  }
}

function base({ traceId, parentId }: Context, at: { beganMs: number; endedMs: number }) {
  return {
    traceId,
    spanId: hex(8),
    ...(parentId === undefined ? {} : { parentSpanId: parentId }),
    startTimeUnixNano: nanos(at.beganMs),
    endTimeUnixNano: nanos(at.endedMs),
  }
}

function taskSpan(context: Context, ended: EndedTask): Span {
  const { name, code } = ended
  const [service, method] = name.startsWith('Node.')
    ? ['gantry.v1.Node', name.slice(5)]
    : ['runtime.v1', name]
  return {
    ...base(context, ended),
    name: `${service}/${method}`,
    kind: SERVER,
    attributes: [
      attribute('rpc.system', 'grpc'),
      attribute('rpc.service', service),
      attribute('rpc.method', method),
      attribute('rpc.grpc.status_code', code),
      attribute('gantry.call', ended.id),
    ],
    status: code === 0 ? {} : { code: ERROR, message: codeName(code) },
  }
}

function stageSpan(context: Context, ended: EndedStage): Span {
  const { work, name, fault } = ended
  return {
    ...base(context, ended),
    name: `${work}:${name}`,
    kind: INTERNAL,
    attributes: [attribute('gantry.work', work), attribute('gantry.stage', name)],
    status: fault === '' ? {} : { code: ERROR, message: fault },
  }
}

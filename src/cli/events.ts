// SPDX-License-Identifier: Apache-2.0
/**
 * events: what happens to containers and pods, one line each, from now until Ctrl-C or the end of the daemon. Names
 * what is gone by what it heard of it before. Choosing and drawing are pure.
 */
import { Fault } from '../base/fault.ts'
import { loadConfig } from '../config/load.ts'
import { clip } from '../model/ids.ts'
import type { Args } from './args.ts'
import { connectCri, type Reply } from './client.ts'
import { interruptible } from './node-client.ts'
import { type ExitCode, exitCodes } from './table.ts'
import { safe } from './text.ts'

type Message = Reply<'GetContainerEvents'>
type Known = NonNullable<Reply<'ListContainers'>['containers']>[number] & {
  exitCode?: number | null
  reason?: string | null
}

export interface Event {
  /** RFC 3339 with nanoseconds. */
  readonly time: string
  readonly type: 'container' | 'pod'
  readonly event: string
  readonly id: string
  /** `namespace/name` of the pod. */
  readonly pod: string
  /** Of the container; '' for a pod, and for one of which nothing is known. */
  readonly name: string
  readonly image: string
  /** Only at the end of a container. */
  readonly exitCode?: number
  readonly reason?: string
}

/** By ContainerEventType of the CRI; the words for containers are those of Docker, for pods those of Podman. */
const WORDS = {
  container: ['create', 'start', 'die', 'destroy'],
  pod: ['create', 'start', 'stop', 'remove'],
} as const
const DIED = 2
const DELETED = 3

const timeOf = (ns: bigint): string =>
  `${new Date(Number(ns / 1_000_000n)).toISOString().slice(0, 19)}.${String(ns % 1_000_000_000n).padStart(9, '0')}Z`

/** Turns messages of one stream into events. Remembers the containers that it has heard of, and those of `before`. */
export function reader(before: readonly Known[] = []): (message: Message) => Event {
  const known = new Map(before.map((c) => [c.id ?? '', c]))
  return (message) => {
    const id = message.containerId ?? ''
    const kind = message.containerEventType ?? 0
    const sandbox = message.podSandboxStatus
    for (const status of message.containersStatuses ?? []) known.set(status.id ?? '', status)
    const status = known.get(id)
    if (kind === DELETED) known.delete(id)
    const type = sandbox?.id === id ? 'pod' : 'container'
    return {
      time: timeOf(message.createdAt ?? 0n),
      type,
      event: WORDS[type][kind] ?? `event-${kind}`,
      id,
      pod: sandbox?.metadata ? `${sandbox.metadata.namespace}/${sandbox.metadata.name}` : '',
      name: status?.metadata?.name ?? '',
      image: status?.image?.userSpecifiedImage || status?.image?.image || '',
      ...(type === 'container' && kind === DIED
        ? { exitCode: status?.exitCode ?? 0, reason: status?.reason ?? '' }
        : {}),
    }
  }
}

/** `2026-01-02T03:04:05.000000006Z container die 0123… (exitCode=0, image=…, name=…, pod=…, reason=…)` */
export function lineOf({ time, type, event, id, ...rest }: Event): string {
  const words = Object.entries(rest)
    .filter(([, value]) => value !== '')
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, value]) => `${key}=${safe(String(value))}`)
  return `${time} ${type} ${event} ${id} (${words.join(', ')})`
}

const FILTERS = ['type', 'event', 'id', 'pod', 'name', 'image'] as const
type Filter = (typeof FILTERS)[number]
const isFilter = (key: string): key is Filter => FILTERS.some((f) => f === key)

/** What `KEY=VALUE,…` lets through: of one key any of its values, of all keys each. An id may be its beginning. */
export function filterOf(text: string | undefined): (event: Event) => boolean {
  const wanted = new Map<Filter, string[]>()
  for (const part of (text ?? '').split(',').filter((p) => p !== '')) {
    const [key = '', value = ''] = part.split(/=([\s\S]*)/)
    if (!isFilter(key)) {
      const why = `"${clip(key)}" is not one of ${FILTERS.join(', ')}`
      throw new Fault('invalid', `--filter: ${why}`, { reason: 'usage' })
    }
    wanted.set(key, [...(wanted.get(key) ?? []), value])
  }
  return (event) =>
    [...wanted].every(([key, values]) =>
      values.some((v) => (key === 'id' ? event.id.startsWith(v) : event[key] === v)),
    )
}

/** `gantry events`. Ctrl-C is its usual end. Throws Faults. */
export async function run(args: Args): Promise<ExitCode> {
  const { socket } = loadConfig(args, process.env)
  const wants = filterOf(args.values.get('filter'))
  using client = await connectCri(socket)
  const read = reader((await client.call('ListContainers', {})).containers ?? [])
  await interruptible(async (signal) => {
    for await (const message of client.stream('GetContainerEvents', signal)) {
      const event = read(message)
      if (!wants(event)) continue
      process.stdout.write(`${args.own.has('json') ? JSON.stringify(event) : lineOf(event)}\n`)
    }
  })
  return exitCodes.ok
}

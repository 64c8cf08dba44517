// SPDX-License-Identifier: Apache-2.0
/**
 * status: one screen of what a running daemon has and how it is. Reads over the CRI, so that it shows what the
 * kubelet sees; the summary is a value, and both the screen and the JSON are written from it.
 */
import { statfs } from 'node:fs/promises'
import { loadConfig } from '../config/load.ts'
import type { Args } from './args.ts'
import { type CriClient, connectCri } from './client.ts'
import { connectNode } from './node-client.ts'
import { type Paint, painter } from './paint.ts'
import { type Pull, pullsOf, pullText } from './pulls.ts'
import { type ExitCode, exitCodes } from './table.ts'
import { sizeText } from './text.ts'

export interface Condition {
  readonly ready: boolean
  readonly reason: string
  readonly message: string
}

export interface Handler {
  readonly name: string
  readonly isDefault: boolean
  /** First line of its `--version`; empty if the daemon does not tell. */
  readonly version: string
  readonly recursiveReadOnlyMounts: boolean
}

export interface Summary {
  readonly socket: string
  readonly runtime: {
    readonly name: string
    readonly version: string
    readonly criVersion: string
  } & Condition
  readonly network: Condition & { readonly name: string }
  readonly handlers: readonly Handler[]
  readonly host: { readonly kernel: string; readonly cgroupVersion: number; readonly cgroupDriver: string }
  readonly pods: { readonly ready: number; readonly notReady: number }
  readonly containers: { readonly created: number; readonly running: number; readonly exited: number }
  readonly images: { readonly count: number; readonly bytes: number; readonly inodes: number }
  readonly disk:
    | { readonly path: string; readonly freeBytes: number; readonly totalBytes: number }
    | undefined
  readonly problems: readonly string[]
  readonly pulls: readonly Pull[]
}

const RUNNING = 1
const EXITED = 2

type Json = Readonly<Record<string, unknown>>
const isObject = (value: unknown): value is Json => typeof value === 'object' && value !== null
const textOf = (value: unknown): string => (typeof value === 'string' ? value : '')
const listOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : [])

/** A JSON text of the `info` map; an empty object if it is none. */
function parsed(text: string | undefined): Json {
  try {
    const value: unknown = JSON.parse(text ?? '')
    return isObject(value) ? value : {}
  } catch {
    return {}
  }
}

/** Everything on the screen, from six calls and the pulls. Throws the client's Faults. */
export async function summarize(
  client: CriClient,
  socket: string,
  pulls: readonly Pull[] = [],
): Promise<Summary> {
  const [version, status, pods, containers, images, fs] = await Promise.all([
    client.call('Version', {}),
    client.call('Status', { verbose: true }),
    client.call('ListPodSandbox', {}),
    client.call('ListContainers', {}),
    client.call('ListImages', {}),
    client.call('ImageFsInfo', {}),
  ])
  const host = parsed(status.info?.host)
  const conditions = status.status?.conditions ?? []
  const condition = (type: string): Condition => {
    const c = conditions.find((one) => one.type === type)
    return { ready: c?.status === true, reason: c?.reason ?? '', message: c?.message ?? '' }
  }
  const podList = pods.items ?? []
  const ready = podList.filter((p) => (p.state ?? 0) === 0).length
  const states = (containers.containers ?? []).map((c) => c.state ?? 0)
  const use = fs.imageFilesystems?.[0]
  const path = use?.fsId?.mountpoint ?? ''
  return {
    socket,
    runtime: {
      name: version.runtimeName ?? '',
      version: version.runtimeVersion ?? '',
      criVersion: version.runtimeApiVersion ?? '',
      ...condition('RuntimeReady'),
    },
    network: { ...condition('NetworkReady'), name: textOf(host.network) },
    handlers: handlersOf(status.runtimeHandlers ?? [], host),
    host: {
      kernel: textOf(host.kernel),
      cgroupVersion: Number(host.cgroupVersion ?? 0),
      cgroupDriver: textOf(host.cgroupDriver),
    },
    pods: { ready, notReady: podList.length - ready },
    containers: {
      created: states.filter((s) => s === 0).length,
      running: states.filter((s) => s === RUNNING).length,
      exited: states.filter((s) => s === EXITED).length,
    },
    images: {
      count: images.images?.length ?? 0,
      bytes: Number(use?.usedBytes?.value ?? 0),
      inodes: Number(use?.inodesUsed?.value ?? 0),
    },
    disk: await diskOf(path),
    problems: listOf(parsed(status.info?.problems).problems).map(textOf),
    pulls,
  }
}

interface WireHandler {
  readonly name?: string | null
  readonly features?: { readonly recursiveReadOnlyMounts?: boolean | null } | null
}

function handlersOf(wire: readonly WireHandler[], host: Json): Handler[] {
  const versions = isObject(host.handlers) ? host.handlers : {}
  const usual = textOf(host.defaultHandler)
  return wire
    .filter((h) => (h.name ?? '') !== '')
    .map((h) => ({
      name: h.name ?? '',
      isDefault: h.name === usual,
      version: textOf(versions[h.name ?? '']),
      recursiveReadOnlyMounts: h.features?.recursiveReadOnlyMounts === true,
    }))
}

async function diskOf(path: string): Promise<Summary['disk']> {
  if (path === '') return undefined
  try {
    const fs = await statfs(path)
    return { path, freeBytes: fs.bavail * fs.bsize, totalBytes: fs.blocks * fs.bsize }
  } catch {
    return undefined // a daemon that sees other folders than this program does
  }
}

export const isReady = (s: Summary): boolean => s.runtime.ready && s.network.ready

/** The screen. Pure. */
export function statusScreen(s: Summary, paint: Paint): string {
  const row = (name: string, text: string): string => `${paint('bold', name.padEnd(12))}${text}`
  const state = (c: Condition, name: string): string => {
    if (c.ready) return `${paint('green', 'ready')}${name === '' ? '' : ` (${name})`}`
    const why = [c.reason, c.message].filter((t) => t !== '').join(': ')
    return `${paint('red', 'not ready')}${why === '' ? '' : `: ${why}`}`
  }
  const handler = (h: Handler): string =>
    [h.name, h.isDefault ? ' (default)' : '', h.version === '' ? '' : `, ${h.version}`].join('')
  const [first, ...others] = s.handlers.map(handler)
  const { pods, containers: c, images, disk, host } = s
  const lines = [
    row(s.runtime.name, `${s.runtime.version}, CRI ${s.runtime.criVersion}, on ${s.socket}`),
    row('runtime', state(s.runtime, '')),
    row('network', state(s.network, s.network.name)),
    row('handlers', first ?? 'none'),
    ...others.map((text) => row('', text)),
    row('host', hostText(host)),
    row('pods', `${pods.ready} ready, ${pods.notReady} not ready`),
    row('containers', `${c.running} running, ${c.created} created, ${c.exited} exited`),
    row('images', `${images.count}, layers of ${sizeText(images.bytes)} in ${images.inodes} files`),
  ]
  if (disk !== undefined)
    lines.push(
      row('disk', `${sizeText(disk.freeBytes)} of ${sizeText(disk.totalBytes)} free at ${disk.path}`),
    )
  lines.push(...s.pulls.map((p, i) => row(i === 0 ? 'pulls' : '', pullText(p))))
  const [problem, ...more] = s.problems
  lines.push(row('problems', problem === undefined ? 'none' : paint('yellow', problem)))
  lines.push(...more.map((text) => row('', paint('yellow', text))))
  return `${lines.join('\n')}\n`
}

function hostText(host: Summary['host']): string {
  const parts = [
    host.kernel === '' ? '' : `kernel ${host.kernel}`,
    host.cgroupVersion === 0 ? '' : `cgroup v${host.cgroupVersion}`,
    host.cgroupDriver === '' ? '' : `driver ${host.cgroupDriver}`,
  ]
  return parts.filter((p) => p !== '').join(', ') || 'not told'
}

/** `gantry status`. Throws Faults; an unreachable daemon has its own reason. */
export async function run(args: Args): Promise<ExitCode> {
  const { socket } = loadConfig(args, process.env)
  using client = await connectCri(socket)
  using node = await connectNode(socket)
  const summary = await summarize(client, socket, await pullsOf(node))
  const text = args.own.has('json')
    ? `${JSON.stringify(summary, null, 2)}\n`
    : statusScreen(summary, painter(process.stdout, process.env))
  process.stdout.write(text)
  return isReady(summary) ? exitCodes.ok : exitCodes.failure
}

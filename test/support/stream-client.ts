// SPDX-License-Identifier: Apache-2.0
/**
 * stream-client: exec, attach and port-forward as a client sees them, over SPDY: asks the daemon for the URL,
 * opens the streams in the order in which clients do, and gives what came. A session that is not over in time is
 * for the test's own limit.
 */
import type { CriClient } from './cri-client.ts'
import { type ClientStream, type SpdyClient, spdyConnect } from './spdy-client.ts'

export interface Wanted {
  readonly stdin?: boolean
  readonly stdout?: boolean
  readonly stderr?: boolean
  readonly tty?: boolean
  /** Of the terminal, sent right after the streams were opened. */
  readonly size?: readonly [cols: number, rows: number]
}

export interface SessionStatus {
  readonly status?: string
  readonly message?: string
  readonly reason?: string
  readonly details?: { readonly causes?: readonly { readonly reason?: string; readonly message?: string }[] }
}

export interface StreamSession {
  readonly wire: SpdyClient
  readonly stdin: ClientStream | undefined
  readonly stdout: ClientStream | undefined
  readonly stderr: ClientStream | undefined
  resize(cols: number, rows: number): Promise<void>
  /** When all streams have ended: what the error stream said. */
  ended(): Promise<SessionStatus>
  /** The exit code that the status tells; 0 for success. Rejects with the message of another failure. */
  exitCode(): Promise<number>
  text(): string
}

/** Joins a URL of Exec or Attach. */
export async function joinSession(url: string, wanted: Wanted): Promise<StreamSession> {
  const { stdin = false, stdout = true, tty = false, stderr = !tty, size } = wanted
  const wire = await spdyConnect(url, ['v4.channel.k8s.io'])
  const open = (streamtype: string) => wire.open({ streamtype })
  const error = await open('error')
  const streams = {
    stdin: stdin ? await open('stdin') : undefined,
    stdout: stdout ? await open('stdout') : undefined,
    stderr: stderr ? await open('stderr') : undefined,
  }
  const sizes = tty ? await open('resize') : undefined
  const resize = async (cols: number, rows: number) => {
    await sizes?.write(JSON.stringify({ Width: cols, Height: rows }))
  }
  if (size) await resize(...size)
  const ended = async (): Promise<SessionStatus> => {
    await Promise.all([error, streams.stdout, streams.stderr].map((s) => s?.ended))
    const status: SessionStatus = JSON.parse(error.bytes.toString() || '{}')
    return status
  }
  return {
    wire,
    ...streams,
    resize,
    ended,
    async exitCode() {
      const { status, message, details } = await ended()
      if (status === 'Success') return 0
      const code = details?.causes?.find((c) => c.reason === 'ExitCode')?.message
      if (code === undefined) throw new Error(message ?? `no status: ${status}`)
      return Number(code)
    },
    text: () => streams.stdout?.bytes.toString() ?? '',
  }
}

const flags = ({ stdin = false, stdout = true, tty = false, stderr = !tty }: Wanted) => ({
  stdin,
  stdout,
  tty,
  stderr,
})

export async function execSession(
  client: CriClient,
  containerId: string,
  wanted: Wanted & { readonly cmd: string[] },
): Promise<StreamSession> {
  const { url } = await client.call('Exec', { containerId, cmd: wanted.cmd, ...flags(wanted) })
  return joinSession(url, wanted)
}

export async function attachSession(
  client: CriClient,
  containerId: string,
  wanted: Wanted,
): Promise<StreamSession> {
  const { url } = await client.call('Attach', { containerId, ...flags(wanted) })
  return joinSession(url, wanted)
}

export interface ForwardSession {
  readonly wire: SpdyClient
  connect(port: number): Promise<{ readonly data: ClientStream; readonly error: ClientStream }>
}

export async function forwardSession(client: CriClient, podSandboxId: string): Promise<ForwardSession> {
  const { url } = await client.call('PortForward', { podSandboxId, port: [] })
  const wire = await spdyConnect(url, ['portforward.k8s.io'])
  let requests = 0
  return {
    wire,
    async connect(port) {
      const shared = { port: `${port}`, requestid: `${requests++}` }
      const error = await wire.open({ streamtype: 'error', ...shared }, true)
      const data = await wire.open({ streamtype: 'data', ...shared })
      return { data, error }
    },
  }
}

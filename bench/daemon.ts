// SPDX-License-Identifier: Apache-2.0
/**
 * Daemon: starts a runtime by its command, says how long it took until the socket answered and until Status
 * called the runtime ready, and stops it again by its pid. The daemon runs in a session of its own, so that
 * Ctrl-C reaches the bench alone and the bench can clean up with the daemon's help.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { CriClient } from './client.ts'

export interface DaemonCommand {
  argv: readonly [string, ...string[]]
  env: Readonly<Record<string, string>>
  socket: string
  logFile: string
}

export interface StartTimes {
  answerMs: number
  readyMs: number
}

const START_LIMIT_MS = 30_000
const STOP_LIMIT_MS = 15_000
const POLL_MS = 2

function listens(socket: string): Promise<boolean> {
  return new Promise((resolve) => {
    const stream = connect(socket)
    stream.once('connect', () => resolve(true)).once('error', () => resolve(false))
    stream.once('connect', () => stream.destroy())
  })
}

/** Whether the runtime answers Version (`answer`) and calls itself ready (`ready`) over a fresh connection. */
async function probe(client: CriClient): Promise<'silent' | 'answer' | 'ready'> {
  try {
    await client.call('Version', {}, 1000)
  } catch {
    return 'silent'
  }
  try {
    const { reply } = await client.call('Status', {}, 1000)
    const ready = reply.status?.conditions?.some((one) => one.type === 'RuntimeReady' && one.status)
    return ready ? 'ready' : 'answer'
  } catch {
    return 'answer'
  }
}

/** A runtime that the bench started. */
export class Daemon {
  readonly #command: DaemonCommand
  #child: ChildProcess | undefined

  constructor(command: DaemonCommand) {
    this.#command = command
  }

  /** Starts it and waits until it is ready; rejects with the end of its log when it does not get there. */
  async start(): Promise<StartTimes> {
    const { argv, env, socket, logFile } = this.#command
    if (await listens(socket)) throw new Error(`bench: something already listens on ${socket}`)
    const log = openSync(logFile, 'a')
    const began = performance.now()
    const child = spawn(argv[0], argv.slice(1), {
      env: { ...process.env, ...env },
      stdio: ['ignore', log, log],
      detached: true,
    })
    closeSync(log)
    this.#child = child
    const failed = new Promise<never>((_, reject) => {
      child.once('error', reject)
      child.once('exit', (code, signal) =>
        reject(new Error(`bench: ${argv.join(' ')} ended: ${signal ?? code}`)),
      )
    })
    failed.catch(() => {}) // looked at only while starting
    try {
      return await Promise.race([this.#ready(began), failed])
    } catch (cause) {
      const tail = (await readFile(logFile, 'utf8').catch(() => ''))
        .trimEnd()
        .split('\n')
        .slice(-15)
        .join('\n')
      await this.stop()
      throw new Error(`bench: the runtime on ${socket} did not start; the end of its log:\n${tail}`, {
        cause,
      })
    }
  }

  async #ready(began: number): Promise<StartTimes> {
    let answerMs: number | undefined
    while (performance.now() - began < START_LIMIT_MS) {
      if (await listens(this.#command.socket)) {
        const client = new CriClient(this.#command.socket)
        const state = await probe(client)
        client.close()
        if (state !== 'silent') answerMs ??= performance.now() - began
        if (state === 'ready' && answerMs !== undefined)
          return { answerMs, readyMs: performance.now() - began }
      }
      await sleep(POLL_MS)
    }
    throw new Error(`bench: not ready after ${START_LIMIT_MS} ms`)
  }

  /** SIGTERM, then SIGKILL; returns when the process is gone. Idempotent. */
  async stop(): Promise<void> {
    const child = this.#child
    this.#child = undefined
    if (!child?.pid || child.exitCode !== null || child.signalCode !== null) return
    const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()))
    child.kill('SIGTERM')
    const timer = setTimeout(() => child.kill('SIGKILL'), STOP_LIMIT_MS)
    await gone
    clearTimeout(timer)
  }
}

// SPDX-License-Identifier: Apache-2.0
/**
 * Talking to a running monitor: watching it, asking for its status, reopening the log, and opening sessions
 * (exec, attach), each on a connection of its own. The end of the connection is the *event* that the container
 * is over; the truth is in exit.json. Does not spawn monitors (`spawn.ts`) and decides nothing.
 */
import { Fault } from '../../base/fault.ts'
import { orAbort, type Scope } from '../../base/scope.ts'
import { encodeFrame, encodeResize, FRAME, type MonitorFrame, type MonitorStatus } from './frames.ts'
import { type AttachRequest, type ExecRequest, openAttach, openExec, type Session } from './session.ts'
import { connectWire, type Wire } from './wire.ts'

export interface MonitorConnection {
  /** Resolves once when the monitor is gone (the container has exited, exit.json is there) or the socket broke. */
  readonly closed: Promise<void>
  /** @abort stops */
  status(scope: Scope): Promise<MonitorStatus>
  /** Success: the new file exists and every later line goes there. @abort stops */
  reopenLog(scope: Scope): Promise<void>
  /** Runs a process in the container; returns when it has been started. @abort kills */
  exec(scope: Scope, request: ExecRequest): Promise<Session>
  /** Joins the container's own stdio. @abort stops */
  attach(scope: Scope, request: AttachRequest): Promise<Session>
  /** Sets the size of the container's terminal; nothing if it has none. */
  resize(cols: number, rows: number): void
  /** Stops watching; the container is not touched. Idempotent. */
  close(): void
}

/** Connects to the monitor behind `ctlPath`. Fault `not-found` when none is there. @abort stops */
export async function connectMonitor(scope: Scope, ctlPath: string): Promise<MonitorConnection> {
  return connectionOn(await connectWire(scope, ctlPath), ctlPath)
}

/** A plain connection over a wire that is connected already. */
export function connectionOn(wire: Wire, ctlPath: string): MonitorConnection {
  const waiting: { resolve(frame: MonitorFrame): void; reject(error: Fault): void }[] = []
  let over = false
  const lost = () =>
    new Fault('unavailable', `the monitor at ${ctlPath} went away`, { reason: 'monitor-gone' })
  wire.onFrame((frame) => waiting.shift()?.resolve(frame)) // replies come in the order of the requests
  const closed = wire.closed.then(() => {
    over = true
    for (const w of waiting.splice(0)) w.reject(lost())
  })
  const ask = (scope: Scope, type: number): Promise<MonitorFrame> => {
    if (over) return Promise.reject(lost())
    const reply = new Promise<MonitorFrame>((resolve, reject) => waiting.push({ resolve, reject }))
    wire.send(encodeFrame(type))
    return orAbort(scope, reply)
  }
  return Object.freeze({
    closed,
    async status(scope: Scope) {
      const frame = await ask(scope, FRAME.statusGet)
      if (frame.is !== 'status') throw unexpected('STATUS', frame)
      return frame.status
    },
    async reopenLog(scope: Scope) {
      const frame = await ask(scope, FRAME.reopenLog)
      if (frame.is !== 'ok') throw unexpected('reopening the log', frame)
    },
    exec: (scope: Scope, request: ExecRequest) => openExec(scope, ctlPath, request),
    attach: (scope: Scope, request: AttachRequest) => openAttach(scope, ctlPath, request),
    resize: (cols: number, rows: number) => void wire.send(encodeResize(cols, rows)),
    close: () => wire.close(),
  })
}

function unexpected(asked: string, frame: MonitorFrame): Fault {
  if (frame.is === 'error') return new Fault('internal', `${asked}: ${frame.message}`)
  return new Fault('corrupt', `${asked}: the monitor answered ${frame.is}`)
}

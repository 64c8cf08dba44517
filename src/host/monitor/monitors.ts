// SPDX-License-Identifier: Apache-2.0
/**
 * The monitors as the engine sees them: start one, find it again, reopen a log, run a command in a container,
 * and end those that nobody owns. Puts `spawn.ts`, `client.ts` and the runtime's failure words together.
 */
import type { Readable } from 'node:stream'
import { Fault, isFault } from '../../base/fault.ts'
import { childScope, type Scope } from '../../base/scope.ts'
import type { ContainerPaths } from '../../model/names.ts'
import type { ExecRequest, ExecResult, MonitorLink, MonitorStart, Monitors, Processes } from '../index.ts'
import { connectMonitor, type MonitorConnection } from './client.ts'
import { monitorFailure } from './failure.ts'
import { openExec } from './session.ts'
import { type MonitorDeps, startMonitor } from './spawn.ts'

export interface MonitorsDeps extends MonitorDeps {
  readonly processes: Processes
  /** Our run folder: monitors and runtimes with others are somebody else's. */
  readonly runRoot: string
  /** Programs of all configured runtimes. */
  readonly runtimes: readonly string[]
}

const SIGKILL = 9

/** The runtime's own words out of a monitor's failure, classified. */
function classified(failure: (doing: string, log: string) => Fault, doing: string, e: unknown): unknown {
  const refusal = monitorFailure(e)
  return refusal ? failure(doing, refusal.log) : e
}

function oomFile(text: string): { path: string; key: string } {
  const at = text.lastIndexOf(':')
  return { path: text.slice(0, at), key: text.slice(at + 1) }
}

export function monitors(deps: MonitorsDeps): Monitors {
  const identified = (pid: number, startTicks: bigint) => ({ bootId: deps.processes.bootId, pid, startTicks })
  return {
    async start(scope, o: MonitorStart): Promise<MonitorLink> {
      const [runtime = '', ...runtimeArgs] = o.runtime.command
      try {
        const m = await startMonitor(scope, deps, {
          id: o.id,
          runtime,
          runtimeArgs,
          sandboxed: o.runtime.sandboxed,
          bundle: o.paths.bundle,
          runDir: o.paths.run,
          exitFile: o.paths.exitFile,
          ...(o.logPath === undefined ? {} : { logPath: o.logPath }),
          tty: o.tty,
          stdin: o.stdin,
          stdinOnce: o.stdinOnce,
          ...(o.stdioOwner ? { stdioOwner: o.stdioOwner } : {}),
          oomFiles: o.oomFiles.map(oomFile),
        })
        return { process: identified(m.pid, m.startTicks), closed: m.closed }
      } catch (e) {
        throw classified(o.runtime.failure, 'create', e)
      }
    },
    async connect(scope, paths): Promise<MonitorLink | undefined> {
      let connection: MonitorConnection
      try {
        connection = await connectMonitor(scope, paths.control)
      } catch (e) {
        if (isFault(e, 'not-found')) return undefined
        throw e
      }
      try {
        const status = await connection.status(scope)
        return { process: identified(status.pid, status.startTicks), closed: connection.closed }
      } catch (e) {
        connection.close()
        throw e
      }
    },
    async reopenLog(scope, paths) {
      const connection = await connectMonitor(scope, paths.control)
      try {
        await connection.reopenLog(scope)
      } finally {
        connection.close()
      }
    },
    exec: (scope, paths, request) => execute(scope, paths, request),
    async sweep(scope, keep) {
      const containers = `${deps.runRoot}/containers/`
      const runtimes = `${deps.runRoot}/oci/`
      const found = await deps.processes.find([deps.paths.monitor, ...deps.runtimes], [])
      const doomed = found.filter(({ argv }) => {
        const ours = argv.some((a) => a.startsWith(containers) || a.startsWith(runtimes))
        const kept = argv.some((a) => keep.has(a))
        return ours && !kept && argv.some((a) => /^[0-9a-f]{64}$/.test(a))
      })
      for (const { process } of doomed) deps.processes.signal(process, SIGKILL)
      for (const { process } of doomed) await deps.processes.gone(scope, process)
    },
  }
}

/** Reads a stream to its end; what is above `max` is discarded, as the CRI asks. */
async function collect(stream: Readable | undefined, max: number): Promise<Buffer> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of stream ?? []) {
    if (!(chunk instanceof Buffer) || size >= max) continue
    const kept = chunk.subarray(0, max - size)
    chunks.push(kept)
    size += kept.length
  }
  return Buffer.concat(chunks)
}

/** The monitor ends an exec in time; a monitor that does not answer must not hold its caller for ever. */
const EXEC_SLACK_MS = 15_000

async function execute(caller: Scope, paths: ContainerPaths, request: ExecRequest): Promise<ExecResult> {
  const limit = request.timeoutMs > 0 ? { ms: request.timeoutMs + EXEC_SLACK_MS, doing: 'the exec' } : {}
  using scope = childScope(caller, limit)
  try {
    const session = await openExec(scope, paths.control, {
      process: request.process,
      stdout: true,
      stderr: true,
      ...(request.timeoutMs > 0 ? { timeoutMs: request.timeoutMs } : {}),
    })
    try {
      const [stdout, stderr, exit] = await Promise.all([
        collect(session.stdout, request.maxOutputBytes),
        collect(session.stderr, request.maxOutputBytes),
        session.exit,
      ])
      return { code: exit.code, stdout, stderr, timedOut: exit.timedOut }
    } finally {
      session.close()
    }
  } catch (e) {
    if (isFault(e) && e.reason === 'monitor-gone')
      throw new Fault('wrong-state', 'the container ended during the exec', { cause: e })
    throw classified(request.failure, 'exec', e)
  }
}

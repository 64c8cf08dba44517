// SPDX-License-Identifier: Apache-2.0
/**
 * An OCI runtime as five verbs. Owns its argv, its state folder and its log; does not create containers (the
 * monitor does, so that it is their parent) but for the pause process of a pod, which needs no monitor.
 * Runs outside the pod's cgroup, in the daemon's.
 */
import { access, readFile, rm, writeFile } from 'node:fs/promises'
import { errnoCode, Fault } from '../../base/fault.ts'
import type { Scope } from '../../base/scope.ts'
import type { RuntimeProgram } from '../../model/facts.ts'
import type { OciResources } from '../../model/plan/spec/oci.ts'
import { type ExecDeps, run } from '../exec.ts'
import { runtimeFault } from './failure.ts'

export interface OciRuntime {
  readonly program: RuntimeProgram
  /** Global arguments before the verb, without --log. */
  readonly globalArgs: readonly string[]
  /** Starts the process of a created container. @abort finishes */
  start(scope: Scope, id: string): Promise<void>
  /** Forgets a container and removes its cgroup; success if there is none. `force` also kills. @abort finishes */
  delete(scope: Scope, id: string, options: { readonly force: boolean }): Promise<void>
  /** `created`, `running`, `stopped`, or undefined when the runtime knows none. @abort kills */
  status(scope: Scope, id: string): Promise<string | undefined>
  /** Applies resources to a running container. @abort finishes */
  update(scope: Scope, id: string, resources: OciResources): Promise<void>
  /** What the runtime wrote in its log as a Fault; see failure.ts for the reasons. */
  failure(doing: string, log: string): Fault
  /** create + start without a monitor; resolves with the pid. @abort finishes */
  runDetached(scope: Scope, id: string, bundle: string): Promise<number>
}

export interface RuntimeDeps extends ExecDeps {
  /** Folder for `--root`; exists. */
  readonly stateRoot: string
  readonly systemdCgroup: boolean
}

const ENV = ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin']
const VERB_MS = 120_000
let calls = 0

async function exists(path: string): Promise<boolean> {
  try {
    await access(path)
    return true
  } catch (e) {
    if (errnoCode(e) === 'ENOENT') return false
    throw e
  }
}

/** A runtime bound to its state folder. Nothing is started. */
export function ociRuntime(program: RuntimeProgram, deps: RuntimeDeps): OciRuntime {
  const globalArgs = ['--root', deps.stateRoot, ...(deps.systemdCgroup ? ['--systemd-cgroup'] : [])]

  /** `run` reads the child's output to its end, which a container that inherits it would never give: see runDetached. */
  async function call(scope: Scope, verb: string[], options: { stdin?: Buffer } = {}): Promise<string> {
    const log = `${deps.stateRoot}/.log-${process.pid}-${++calls}`
    const result = await run({ signal: new AbortController().signal, log: scope.log }, deps, {
      file: program.path,
      argv: [program.path, ...globalArgs, '--log', log, '--log-format', 'json', ...verb],
      env: ENV,
      maxOutputBytes: 1 << 20,
      deadlineMs: VERB_MS,
      killGraceMs: 1000,
      ...options,
    })
    if (result.reason === 'exited' && result.code === 0) {
      rm(log, { force: true }).catch(() => {})
      return result.stdout.toString('utf8')
    }
    const text = await readFile(log, 'utf8').catch(() => '')
    await rm(log, { force: true })
    const doing = `${program.kind} ${verb.find((v) => !v.startsWith('-')) ?? ''}`
    if (result.reason === 'timed-out') throw new Fault('timeout', `${doing} took longer than ${VERB_MS} ms`)
    throw runtimeFault(program.kind, doing, text || result.stderr.toString('utf8'))
  }

  const known = (id: string) => exists(`${deps.stateRoot}/${id}`)

  return {
    program,
    globalArgs,
    failure: (doing, log) => runtimeFault(program.kind, doing, log),
    async start(scope, id) {
      await call(scope, ['start', id])
    },
    async delete(scope, id, { force }) {
      if (!(await known(id))) return
      try {
        await call(scope, force ? ['delete', '--force', id] : ['delete', id])
      } catch (e) {
        if (e instanceof Fault && e.reason === 'unknown-container' && !(await known(id))) return
        if (force) throw e
        await call(scope, ['delete', '--force', id])
      }
      // A create that was killed half-way leaves a folder without a state file, which no verb removes.
      await rm(`${deps.stateRoot}/${id}`, { recursive: true, force: true })
    },
    async status(scope, id) {
      if (!(await known(id))) return undefined
      try {
        const state: unknown = JSON.parse(await call(scope, ['state', id]))
        const status: unknown =
          typeof state === 'object' && state !== null ? Reflect.get(state, 'status') : undefined
        return typeof status === 'string' ? status : undefined
      } catch (e) {
        if (e instanceof Fault && e.reason === 'unknown-container') return undefined
        throw e
      }
    },
    async update(scope, id, resources) {
      const { devices: _kept, ...rest } = resources
      await call(scope, ['update', '--resources', '-', id], { stdin: Buffer.from(JSON.stringify(rest)) })
    },
    async runDetached(scope, id, bundle) {
      const log = `${bundle}/runtime.log`
      const pidFile = `${bundle}/pid`
      await writeFile(log, '', { mode: 0o600 })
      const argv = [
        program.path,
        ...globalArgs,
        '--log',
        log,
        '--log-format',
        'json',
        'create',
        '--bundle',
        bundle,
      ]
      const code = await new Promise<number>((resolve) => {
        deps.native.spawn(
          {
            file: program.path,
            argv: [...argv, '--pid-file', pidFile, id],
            env: ENV,
            fds: [-1, -1, -1],
            newSession: true,
          },
          resolve,
        )
      })
      if (code !== 0) throw runtimeFault(program.kind, `${program.kind} create`, await readFile(log, 'utf8'))
      const pid = Number((await readFile(pidFile, 'utf8')).trim())
      if (!Number.isInteger(pid) || pid <= 1)
        throw new Fault('internal', `${program.kind} wrote no pid for ${id}`)
      await call(scope, ['start', id])
      return pid
    },
  }
}

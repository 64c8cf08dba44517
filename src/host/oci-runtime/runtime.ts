// SPDX-License-Identifier: Apache-2.0
/**
 * An OCI runtime as five verbs. Owns its argv, its state folder and its log; does not create containers (the
 * monitor does, so that it is their parent) but for the pause process of a pod, which needs no monitor.
 * Runs outside the pod's cgroup, in the daemon's.
 */
import { access, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { errnoCode, Fault } from '../../base/fault.ts'
import type { Scope } from '../../base/scope.ts'
import type { RuntimeProgram } from '../../model/facts.ts'
import type { OciResources } from '../../model/plan/spec/oci.ts'
import { type ExecDeps, run } from '../exec.ts'
import { runtimeFault } from './failure.ts'
import { KEEPER_END_SIGNAL, RUNTIMES } from './table.ts'

export interface OciRuntime {
  readonly program: RuntimeProgram
  /** What the monitor runs before the verb, without --log: the program, or the keeper for it, and its arguments. */
  readonly command: readonly string[]
  /** Containers run in a kernel of the pod's own. */
  readonly sandboxed: boolean
  /** By which the process of a container ends whatever it does. */
  readonly endSignal: number
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
  /** The program that stands for containers which are no processes of this machine. */
  readonly keeper: string
  /** The operator's arguments before the verb. */
  readonly args: readonly string[]
  /** Folder for `--root`; exists. */
  readonly stateRoot: string
  readonly systemdCgroup: boolean
}

const ENV = ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin']
const VERB_MS = 120_000
const SIGKILL = 9
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
  const traits = RUNTIMES[program.kind]
  const systemd = deps.systemdCgroup ? ['--systemd-cgroup'] : []
  const direct = [program.path, '--root', deps.stateRoot, ...systemd, ...deps.args]
  const command = traits.sandboxed ? [deps.keeper, '--runtime', ...direct] : direct

  /** `run` reads the child's output to its end, which a container that inherits it would never give: see runDetached. */
  async function call(
    scope: Scope,
    verb: string[],
    { front = direct, ...options }: { stdin?: Buffer; front?: readonly string[] } = {},
  ): Promise<string> {
    const log = `${deps.stateRoot}/.log-${process.pid}-${++calls}`
    const result = await run({ signal: new AbortController().signal, log: scope.log }, deps, {
      file: front[0] ?? '',
      argv: [...front, '--log', log, '--log-format', 'json', ...verb],
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

  /** What the runtime has of a container in its state folder. */
  async function stateOf(id: string): Promise<readonly string[]> {
    if (!traits.sandboxed) return (await exists(`${deps.stateRoot}/${id}`)) ? [id] : []
    const own = (name: string) => name.startsWith(`${id}_sandbox:`) || name === `.gate-${id}`
    return (await readdir(deps.stateRoot)).filter(own)
  }
  const known = async (id: string) => (await stateOf(id)).length > 0

  return {
    program,
    command,
    sandboxed: traits.sandboxed,
    endSignal: traits.sandboxed ? KEEPER_END_SIGNAL : SIGKILL,
    failure: (doing, log) => runtimeFault(program.kind, doing, log),
    async start(scope, id) {
      await call(scope, ['start', id], { front: command })
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
      for (const name of await stateOf(id))
        await rm(`${deps.stateRoot}/${name}`, { recursive: true, force: true })
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
      if (!traits.updates)
        throw new Fault(
          'unsupported',
          `runtime handler ${program.handler}: ${program.kind} changes no limits of containers that run`,
        )
      const { devices: _kept, ...rest } = resources
      await call(scope, ['update', '--resources', '-', id], { stdin: Buffer.from(JSON.stringify(rest)) })
    },
    async runDetached(scope, id, bundle) {
      const log = `${bundle}/runtime.log`
      const pidFile = `${bundle}/pid`
      await writeFile(log, '', { mode: 0o600 })
      const argv = [...direct, '--log', log, '--log-format', 'json', 'create', '--bundle', bundle]
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

// SPDX-License-Identifier: Apache-2.0
/**
 * serve: the daemon as a command: start, the self-check if it is asked for, what to type next, then serve
 * until a signal. A failed check ends the daemon again. What it prints for people goes to stdout, the log of
 * the daemon to stderr.
 */
import { relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Fault } from '../base/fault.ts'
import { childScope } from '../base/scope.ts'
import { loadConfig } from '../config/load.ts'
import type { Config } from '../config/schema.ts'
import { type Daemon, signalled, startDaemon } from '../daemon.ts'
import { programs } from '../places.ts'
import { findProgram } from '../runtimes.ts'
import { VERSION } from '../version.ts'
import type { Args } from './args.ts'
import { type Paint, painter } from './paint.ts'
import { type SelfCheckResult, selfCheck } from './self-check.ts'
import { type ExitCode, exitCodes } from './table.ts'

const STANDARD_SOCKET = '/run/gantry/gantry.sock'

/** `gantry serve`. Resolves when the daemon has stopped; containers go on. Throws Faults. */
export async function run(args: Args): Promise<ExitCode> {
  const read = () => loadConfig(args, process.env)
  const config = read()
  const daemon = await startDaemon(config, read)
  const stop = signalled()
  if (args.own.has('self-check')) {
    const result = await checked(daemon, config, stop)
    if (result !== undefined) {
      const paint = painter(process.stdout, process.env)
      const standard = config.socket === STANDARD_SOCKET
      process.stdout.write(
        welcome({ ...result, socket: config.socket, standard, program: await ownName(), paint }),
      )
    }
  }
  await stop
  await daemon.stop()
  return exitCodes.ok
}

/** The result, or undefined if a signal came first. A failure stops the daemon and is thrown. */
async function checked(
  daemon: Daemon,
  config: Config,
  stop: Promise<void>,
): Promise<SelfCheckResult | undefined> {
  using scope = childScope(daemon.scope)
  let stopped = false
  void stop.then(() => {
    stopped = true
    scope.abort(new Fault('cancelled', 'stopped by a signal'))
  })
  try {
    return await selfCheck(scope, daemon.engine, {
      program: programs.hello,
      folder: `${config.runDir}/self-check`,
    })
  } catch (e) {
    if (stopped) return undefined
    await daemon.parts.context.host.files.emptyTrash()
    await daemon.stop()
    throw e
  }
}

/** How to call this program from here: by name where it is installed, else by its path. */
async function ownName(): Promise<string> {
  if ((await findProgram('gantry')) !== undefined) return 'gantry'
  const path = fileURLToPath(new URL('../../bin/gantry', import.meta.url))
  const near = relative(process.cwd(), path)
  return near.startsWith('..') ? path : near
}

interface Welcome extends SelfCheckResult {
  readonly socket: string
  /** The commands find this socket without being told. */
  readonly standard: boolean
  /** How this program is called. */
  readonly program: string
  readonly paint: Paint
}

/** What works, how fast, and what to type next. Pure. */
export function welcome({ socket, standard, upMs, downMs, program, paint }: Welcome): string {
  const endpoint = `unix://${socket}`
  const own = standard ? '' : ` --socket=${socket}`
  const rows: readonly (readonly [what: string, command: string])[] = [
    ['how it is', `sudo ${program} status${own}`],
    ['with crictl', `sudo crictl --runtime-endpoint=${endpoint} info`],
    ['', `sudo crictl --runtime-endpoint=${endpoint} pull IMAGE`],
    ['with a kubelet', `kubelet --container-runtime-endpoint=${endpoint} …`],
    ['with kubeadm', `kubeadm init --cri-socket=${endpoint}`],
  ]
  return [
    '',
    `${paint('green', 'gantry is ready')}: version ${VERSION} serves the CRI on ${endpoint}`,
    `The self-check pod was up in ${Math.round(upMs)} ms and down in ${Math.round(downMs)} ms; its log line arrived.`,
    '',
    'Next:',
    ...rows.map(([what, command]) => `  ${what.padEnd(16)}${paint('bold', command)}`),
    '',
    'The log of the daemon is here; containers log where their pods say.',
    'Ctrl-C stops the daemon; containers go on.',
    '',
    '',
  ].join('\n')
}

// SPDX-License-Identifier: Apache-2.0
/**
 * gantry-cli: the built command line as a test runs it: with its outputs apart, on a terminal of its own, or in a
 * shell line. A run that takes a minute is killed.
 */
import { spawn } from 'node:child_process'
import { join } from 'node:path'

const gantry = join(import.meta.dirname, '../../bin/gantry')
const LONGEST_MS = 60_000

export interface Ran {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface Running {
  readonly pid: number
  /** Both outputs so far, as they came. */
  readonly seen: () => string
  readonly stdin: NodeJS.WritableStream
  readonly ended: Promise<Ran>
}

function start(program: string, args: readonly string[]): Running {
  const child = spawn(program, args, { stdio: 'pipe', env: { ...process.env, NO_COLOR: '', TERM: 'xterm' } })
  const timer = setTimeout(() => child.kill('SIGKILL'), LONGEST_MS)
  const out = { stdout: '', stderr: '' }
  let all = ''
  for (const name of ['stdout', 'stderr'] as const)
    child[name].setEncoding('utf8').on('data', (text: string) => {
      out[name] += text
      all += text
    })
  child.stdin.on('error', () => {})
  const ended = new Promise<Ran>((resolve) =>
    child.on('close', (code) => {
      clearTimeout(timer)
      resolve({ code, ...out })
    }),
  )
  return { pid: child.pid ?? 0, seen: () => all, stdin: child.stdin, ended }
}

export interface GantryCli {
  /** Starts `gantry ARGS` and leaves its stdin open. */
  start(args: readonly string[]): Running
  /** Runs it to its end, with this on its stdin. */
  run(args: readonly string[], stdin?: string): Promise<Ran>
  /** Starts it on a terminal of 80 columns: both outputs are one, the stdin is its keyboard. */
  onTerminal(args: readonly string[]): Running
  /** It as a word of a shell line. */
  line(args: readonly string[]): string
  /** Runs a line of bash with nothing on its stdin. */
  shell(line: string): Promise<Ran>
}

/** The command line with `flags` behind every command. */
export function gantryCli(flags: readonly string[]): GantryCli {
  const line = (args: readonly string[]) => [gantry, ...args, ...flags].map((word) => `'${word}'`).join(' ')
  const closed = (running: Running, stdin = '') => {
    running.stdin.end(stdin)
    return running.ended
  }
  const own = (args: readonly string[]) => start(gantry, [...args, ...flags])
  return {
    start: own,
    run: (args, stdin) => closed(own(args), stdin),
    onTerminal: (args) => start('script', ['-qefc', `stty cols 80 rows 24; exec ${line(args)}`, '/dev/null']),
    line,
    shell: (text) => closed(start('bash', ['-c', text])),
  }
}

// SPDX-License-Identifier: Apache-2.0
/**
 * Options: the bench's command line, as a frozen value, and its help. All wrong options are named at once.
 */
import { parseArgs } from 'node:util'

export const SUITES = [
  'start',
  'pods',
  'cni',
  'wide',
  'exec',
  'streaming',
  'held',
  'stats',
  'images',
] as const
export type Suite = (typeof SUITES)[number]
/**
 * Not part of a run without `--only`: images take half a minute to make and 250 MB to keep; streaming moves GBs; stats
 * holds as many pods as `held` and polls for 20 s.
 */
const ASKED_FOR: ReadonlySet<Suite> = new Set(['images', 'streaming', 'stats'])

export interface Options {
  socket: string | undefined
  start: string | undefined
  against: string | undefined
  againstStart: string | undefined
  peer: 'containerd' | undefined
  handler: string
  seccomp: 'RuntimeDefault' | 'Unconfined'
  userNamespaces: boolean
  only: ReadonlySet<Suite>
  rounds: number
  iterations: number
  wide: number
  width: number
  pods: number
  settleSeconds: number
  json: string | undefined
  budget: boolean
  keepLogs: boolean
}

export const HELP = `Usage: sudo npm run bench -- [options] [suite ...]

Measures a CRI runtime over its socket, the way the kubelet uses it.

  --socket PATH          the runtime to measure (A); default /run/gantry/gantry.sock
  --start COMMAND        start A with this shell command (and measure the start); --socket says where it listens.
                         The command sees GT_BENCH_FOLDER (scratch space that is removed afterwards),
                         GT_BENCH_CNI_CONF_DIR (the network list that a peer gets too) and GT_BENCH_REGISTRY
                         (host:port of the images; bench/pause:1 is there for runtimes that need one)
  --against PATH         a second runtime (B): the two are measured in turn, A B A B, and compared
  --against-start CMD    the same as --start, for B
  --peer containerd      build and start containerd as B; alone when there is no A
  --handler NAME         runtime handler of the pods; default: the runtime's own default
  --seccomp              containers with the RuntimeDefault seccomp profile; default Unconfined, as the kubelet
  --user-namespaces      pods of A have a user namespace each, those of B none: with both at one socket, what it costs
  --network host|cni     cni also measures pods with a pod network; default host
  --only NAME,...        of ${SUITES.join(', ')}; default: all but images, streaming and stats (cni only
                         with --network cni). Suites can be named without --only too: npm run bench -- images --peer containerd
  --rounds N             turns of the latency suites for each runtime; default 3
  --iterations N         pods of a turn, one after the other; default 10
  --wide N --width N     pods of a turn that come up and go down N at a time; default 24, 8 at a time
  --pods N               pods held, with one container each, for lists and memory; default 100
  --settle SECONDS       measure the daemon's memory again so long after the held pods have gone; default: not
  --quick                1 round, 5 iterations, 16 wide, 20 held
  --json FILE            write every value, the summaries and the ratios to FILE
  --budget               exit 1 when a figure misses its budget (bench/budgets.ts)
  --keep-logs            do not remove the scratch folder (logs of what was started)
  --help                 this text

Exit codes: 0 measured (and within budget), 1 failed or over budget, 2 wrong options, 130 interrupted.
`

/** The command line is wrong; `problems` has a sentence for each thing. */
export class UsageError extends Error {
  readonly problems: readonly string[]
  constructor(problems: readonly string[]) {
    super(problems.join('\n'))
    this.name = 'UsageError'
    this.problems = problems
  }
}

/** A line about what is going on, on stderr: stdout is the report. */
export const say = (sentence: string) => process.stderr.write(`bench: ${sentence}\n`)

const text = { type: 'string' } as const
const flag = { type: 'boolean', default: false } as const
const SPEC = {
  socket: text,
  start: text,
  against: text,
  'against-start': text,
  peer: text,
  handler: text,
  seccomp: flag,
  'user-namespaces': flag,
  network: text,
  only: text,
  rounds: text,
  iterations: text,
  wide: text,
  width: text,
  pods: text,
  settle: text,
  quick: flag,
  json: text,
  budget: flag,
  'keep-logs': flag,
  help: flag,
} as const

function parse(argv: readonly string[]) {
  try {
    const { values, positionals } = parseArgs({
      args: [...argv],
      options: SPEC,
      strict: true,
      allowPositionals: true,
    })
    return positionals.length === 0
      ? values
      : { ...values, only: [values.only ?? [], positionals].flat().join(',') }
  } catch (error) {
    throw new UsageError([error instanceof Error ? error.message : String(error)])
  }
}

function chosenSuites(only: string | undefined, network: string, problems: string[]): ReadonlySet<Suite> {
  if (only === undefined)
    return new Set(SUITES.filter((name) => !ASKED_FOR.has(name) && (name !== 'cni' || network === 'cni')))
  const chosen = new Set<Suite>()
  for (const name of only.split(',').map((part) => part.trim())) {
    const suite = SUITES.find((known) => known === name)
    if (suite) chosen.add(suite)
    else problems.push(`--only: ${name || '(empty)'} is not one of ${SUITES.join(', ')}`)
  }
  return chosen
}

/** Parses the arguments; 'help' when help was asked for. Throws UsageError naming every problem. */
export function parseOptions(argv: readonly string[]): Options | 'help' {
  const values = parse(argv)
  if (values.help) return 'help'
  const problems: string[] = []
  const number = (name: 'rounds' | 'iterations' | 'wide' | 'width' | 'pods' | 'settle', fallback: number) => {
    const given = values[name]
    if (given === undefined) return fallback
    const value = Number(given)
    const ok = /^\d+$/.test(given) && value <= 10_000 && (value > 0 || name === 'settle')
    if (!ok) problems.push(`--${name}: ${given} is not a number from 1 to 10000`)
    return ok ? value : fallback
  }
  const network = values.network ?? 'host'
  if (network !== 'host' && network !== 'cni') problems.push(`--network: ${network} is not host or cni`)
  const peer = values.peer === 'containerd' ? values.peer : undefined
  if (values.peer !== undefined && !peer) problems.push(`--peer: ${values.peer} is not containerd`)
  if (peer && values.against) problems.push('--peer and --against both name the second runtime: give one')
  if (values.start && !values.socket) problems.push('--start needs --socket: where the command will listen')
  if (values['against-start'] && !values.against) problems.push('--against-start needs --against')
  const only = chosenSuites(values.only, network, problems)
  const quick = values.quick
  const options: Options = {
    socket: values.socket,
    start: values.start,
    against: values.against,
    againstStart: values['against-start'],
    peer,
    handler: values.handler ?? '',
    seccomp: values.seccomp ? 'RuntimeDefault' : 'Unconfined',
    userNamespaces: values['user-namespaces'],
    only,
    rounds: number('rounds', quick ? 1 : 3),
    iterations: number('iterations', quick ? 5 : 10),
    wide: number('wide', quick ? 16 : 24),
    width: number('width', 8),
    pods: number('pods', quick ? 20 : 100),
    settleSeconds: number('settle', 0),
    json: values.json,
    budget: values.budget,
    keepLogs: values['keep-logs'],
  }
  if (problems.length > 0) throw new UsageError(problems)
  return Object.freeze(options)
}

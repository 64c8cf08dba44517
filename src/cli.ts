// SPDX-License-Identifier: Apache-2.0
/**
 * gantry: parse, dispatch, exit code. Each command is a file of cli/ that is loaded when it is asked for, so
 * that a short one is fast. Whatever goes wrong is one sentence on stderr.
 */
import { isFault } from './base/fault.ts'
import { type Args, parseArgs } from './cli/args.ts'
import { helpOf, overview } from './cli/help.ts'
import { commandNamed, type ExitCode, exitCodes } from './cli/table.ts'
import { VERSION } from './version.ts'

/** One line for each command of the table (a test compares them). */
const run: Readonly<Record<string, (args: Args) => Promise<ExitCode>>> = {
  serve: async (args) => (await import('./cli/serve.ts')).run(args),
  status: async (args) => (await import('./cli/status.ts')).run(args),
  stats: async (args) => (await import('./cli/stats.ts')).run(args),
  top: async (args) => (await import('./cli/top.ts')).run(args),
  doctor: async (args) => (await import('./cli/doctor.ts')).run(args),
  config: async (args) => (await import('./cli/config.ts')).run(args),
  debug: async (args) => (await import('./cli/debug.ts')).run(args),
  pull: async (args) => (await import('./cli/pull.ts')).run(args),
  images: async (args) => (await import('./cli/images.ts')).run(args),
  rmi: async (args) => (await import('./cli/rmi.ts')).run(args),
  tag: async (args) => (await import('./cli/tag.ts')).run(args),
  push: async (args) => (await import('./cli/push.ts')).run(args),
  save: async (args) => (await import('./cli/save.ts')).run(args),
  load: async (args) => (await import('./cli/load.ts')).run(args),
  inspect: async (args) => (await import('./cli/inspect.ts')).run(args),
  history: async (args) => (await import('./cli/history.ts')).run(args),
  diff: async (args) => (await import('./cli/diff.ts')).run(args),
  prune: async (args) => (await import('./cli/prune.ts')).run(args),
  login: async (args) => (await import('./cli/login.ts')).run(args),
  logout: async (args) => (await import('./cli/logout.ts')).run(args),
  'log-level': async (args) => (await import('./cli/log-level.ts')).run(args),
  events: async (args) => (await import('./cli/events.ts')).run(args),
  completion: async ({ words }) => {
    const { completion } = await import('./cli/completion.ts')
    return say(completion(words[0] ?? ''))
  },
  version: async ({ own }) =>
    say(own.has('json') ? `${JSON.stringify({ version: VERSION })}\n` : `gantry ${VERSION}\n`),
  help: async ({ words }) => {
    const command = commandNamed(words[0] ?? '')
    return say(command === undefined ? overview() : helpOf(command))
  },
}

function say(text: string): ExitCode {
  process.stdout.write(text)
  return exitCodes.ok
}

async function main(argv: readonly string[]): Promise<ExitCode> {
  const parsed = parseArgs(argv)
  if (parsed.is === 'help') return say(parsed.of === undefined ? overview() : helpOf(parsed.of))
  if (argv.length === 0) {
    process.stderr.write(overview())
    return exitCodes.usage
  }
  if (parsed.is === 'wrong') {
    for (const problem of parsed.problems) process.stderr.write(`gantry: ${problem}\n`)
    process.stderr.write(`See gantry ${parsed.of === undefined ? '--help' : `help ${parsed.of.name}`}.\n`)
    return exitCodes.usage
  }
  const { args } = parsed
  try {
    return (await run[args.command.name]?.(args)) ?? exitCodes.usage
  } catch (e) {
    if (!isFault(e)) throw e
    process.stderr.write(`gantry: ${e.message}\n`)
    if (e.reason === 'unreachable') return exitCodes.unreachable
    if (e.reason === 'interrupted') return exitCodes.interrupted
    if (e.reason === 'usage') return exitCodes.usage
    return e.kind === 'invalid' && args.problems.length > 0 ? exitCodes.usage : exitCodes.failure
  }
}

// A reader such as head that leaves early is no failure of ours, unless a command says that it is.
process.stdout.on('error', (e: NodeJS.ErrnoException) =>
  process.exit(e.code === 'EPIPE' ? (process.exitCode ?? exitCodes.ok) : exitCodes.failure),
)
try {
  // A daemon that has stopped leaves monitors behind that still hold the event loop.
  process.exit(await main(process.argv.slice(2)))
} catch (e) {
  process.stderr.write(`gantry: a bug: ${e instanceof Error ? (e.stack ?? e.message) : String(e)}\n`)
  process.exit(exitCodes.failure)
}

// SPDX-License-Identifier: Apache-2.0
/** gantryd: parse, load the configuration, start, wait for a signal, drain, exit code. Nothing else. */
import { Fault, isFault } from './base/fault.ts'
import { parseFlags } from './config/flags.ts'
import { loadConfig } from './config/load.ts'
import { startDaemon, untilSignalled } from './daemon.ts'
import { VERSION } from './version.ts'

/** The daemon is `gantry serve` without its self-check: same flags, same help. */
async function help(): Promise<string> {
  const { gantrydHelp } = await import('./cli/help.ts')
  return gantrydHelp()
}

try {
  const flags = parseFlags(process.argv.slice(2), ['help', 'version'])
  if (flags.own.size > 0) {
    process.stdout.write(flags.own.has('help') ? await help() : `gantryd ${VERSION}\n`)
    process.exit(0)
  }
  if (flags.words.length > 0)
    throw new Fault('invalid', `gantryd takes flags only, not "${flags.words[0]}" (see gantry --help)`)
  const read = () => loadConfig(flags, process.env)
  await untilSignalled(await startDaemon(read(), read))
  process.exit(0)
} catch (e) {
  process.stderr.write(
    `gantryd: ${isFault(e) ? e.message : e instanceof Error ? (e.stack ?? e.message) : String(e)}\n`,
  )
  process.exit(1)
}

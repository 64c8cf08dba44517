// SPDX-License-Identifier: Apache-2.0
/** config: `gantry config default|show|check`: the configuration as text, as JSON, or only what is wrong with it. */
import { isFault } from '../base/fault.ts'
import { loadConfig, makeConfig } from '../config/load.ts'
import { configDefaultToml, configShowToml } from '../config/show.ts'
import type { Args } from './args.ts'
import { type ExitCode, exitCodes } from './table.ts'

const print = (value: unknown): void => void process.stdout.write(`${JSON.stringify(value, null, 2)}\n`)

/** The problems of the Fault that loading throws, without its heading. */
export function problemsOf(message: string): string[] {
  return message
    .split('\n')
    .slice(1)
    .map((line) => line.trim())
}

function check(args: Args): ExitCode {
  const json = args.own.has('json')
  try {
    const { files } = loadConfig(args, process.env)
    if (json) print({ ok: true, files, problems: [] })
    else process.stdout.write(`ok: ${files.length === 0 ? 'no file, the defaults' : files.join(', ')}\n`)
    return exitCodes.ok
  } catch (e) {
    if (!isFault(e, 'invalid') || !json) throw e
    print({ ok: false, problems: problemsOf(e.message) })
    return exitCodes.failure
  }
}

/** `gantry config`. Throws the Fault of the configuration. */
export async function run(args: Args): Promise<ExitCode> {
  const json = args.own.has('json')
  const [word] = args.words
  if (word === 'check') return check(args)
  if (word === 'show') {
    const config = loadConfig(args, process.env)
    if (json) print(config)
    else process.stdout.write(configShowToml(config))
  } else if (json) {
    print(makeConfig({ files: [], env: {}, flags: { settings: new Map(), problems: [] } }))
  } else process.stdout.write(configDefaultToml())
  return exitCodes.ok
}

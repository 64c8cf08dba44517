// SPDX-License-Identifier: Apache-2.0
/** command: what a command of the table is made of, and the flags that many of them share. Pure data. */
import { flagOf, type OptionKey, options } from '../config/schema.ts'

export interface FlagSpec {
  readonly name: string
  /** One letter, for `-o FILE`. */
  readonly short?: string
  /** What stands behind it, as `PATH`; undefined: a switch. */
  readonly value?: string
  readonly help: string
  /** The option of the configuration that it sets. */
  readonly option?: OptionKey
}

export interface WordSpec {
  readonly name: string
  readonly help: string
}

/** Names that a person gives. */
export interface Operands {
  /** As `IMAGE…` or `[PATTERN]`. */
  readonly usage: string
  readonly help: string
  readonly min: number
  readonly max: number
}

export interface Command {
  readonly name: string
  readonly summary: string
  /** What it does, promises and needs: sentences, wrapped by who shows them. */
  readonly about: readonly string[]
  /** The words it takes, one of them; empty: none. */
  readonly words: readonly WordSpec[]
  readonly wordNeeded: boolean
  /** What it works on, named freely; undefined: nothing. */
  readonly operands?: Operands
  readonly flags: readonly FlagSpec[]
  /** Arguments that other programs take here and this one must not; they and what is behind them are not shown. */
  readonly refused?: { readonly flag: RegExp; readonly why: string }
  /** It takes every option of the configuration as a flag. */
  readonly takesOptions: boolean
  readonly examples: readonly (readonly [line: string, what: string])[]
}

export const json: FlagSpec = { name: 'json', help: 'One JSON document on stdout, for scripts.' }
export const configFile: FlagSpec = {
  name: 'config',
  value: 'PATH',
  help: 'Read this configuration file instead of `/etc/gantry/gantry.toml`.',
}
/** An option of the configuration as a flag. */
export const option = (key: OptionKey): FlagSpec => ({
  name: flagOf(key),
  ...(options[key].isSwitch ? {} : { value: valueName(key) }),
  help: options[key].help,
  option: key,
})

function valueName(key: OptionKey): string {
  const { type } = options[key]
  if (type === 'path') return 'PATH'
  if (type.startsWith('list of')) return 'PATHS'
  if (type.startsWith('milliseconds')) return 'MS'
  if (type.startsWith('bytes')) return 'BYTES'
  if (type.startsWith('whole')) return 'N'
  return type.startsWith('`') ? 'WORD' : 'TEXT'
}

/** How a command that asks the daemon finds it. */
export const daemonFlags: readonly FlagSpec[] = [configFile, option('run_dir'), option('socket')]

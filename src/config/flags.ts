// SPDX-License-Identifier: Apache-2.0
/**
 * flags: a command line into settings. `--log-level=debug`, `--log-level debug`, `--idle-trim`,
 * `--no-idle-trim`; a list is separated by commas. Knows the options of schema.ts and the few words that the
 * command itself takes; reports everything it cannot place. Pure.
 */
import { clip } from '../model/ids.ts'
import { nearest } from './nearest.ts'
import { flagOf, type OptionKey, optionKeys, options } from './schema.ts'

export interface Flags {
  /** `--config`: read this file instead of the default one. */
  readonly config: string | undefined
  /** Options that were given, as text or, for a switch, true or false. */
  readonly settings: ReadonlyMap<OptionKey, string | boolean>
  /** Which of the command's own switches were given. */
  readonly own: ReadonlySet<string>
  /** What is no flag: commands and their arguments. */
  readonly words: readonly string[]
  readonly problems: readonly string[]
}

/** A shorter name of a flag. */
export const shortFlags: Readonly<Record<string, OptionKey>> = { 'default-network': 'cni.default_network' }

interface Found {
  readonly key: OptionKey | 'config'
  /** The value that the form of a switch stands for. */
  readonly means?: boolean
}

function find(name: string): Found | undefined {
  if (name === 'config') return { key: 'config' }
  const byName = (flag: string): OptionKey | undefined => {
    if (Object.hasOwn(shortFlags, flag)) return shortFlags[flag]
    return optionKeys.find((k) => flagOf(k) === flag)
  }
  const key = byName(name)
  if (key !== undefined) return options[key].isSwitch ? { key, means: true } : { key }
  const negated = name.startsWith('no-') ? byName(name.slice(3)) : undefined
  return negated !== undefined && options[negated].isSwitch ? { key: negated, means: false } : undefined
}

/**
 * Reads `argv` (without program and script). `own` are the switches of the command itself, such as
 * `self-check`; after `--` everything is a word.
 */
export function parseFlags(argv: readonly string[], own: readonly string[] = []): Flags {
  let config: string | undefined
  const settings = new Map<OptionKey, string | boolean>()
  const mine = new Set<string>()
  const words: string[] = []
  const problems: string[] = []
  for (let i = 0; i < argv.length; i++) {
    const arg = argv[i] ?? ''
    if (arg === '--') {
      words.push(...argv.slice(i + 1))
      break
    }
    if (!arg.startsWith('--')) {
      words.push(arg)
      continue
    }
    const [, name = '', given] = /^--([^=]*)(?:=([\s\S]*))?$/.exec(arg) ?? []
    if (own.includes(name)) {
      if (given === undefined) mine.add(name)
      else problems.push(`--${name}: takes no value`)
      continue
    }
    const found = find(name)
    if (found === undefined) problems.push(unknownFlag(name, own))
    else if (found.key !== 'config' && found.means !== undefined) {
      if (found.means || given === undefined) settings.set(found.key, given ?? found.means)
      else problems.push(`--${name}: takes no value`)
    } else {
      const value = given ?? argv[++i]
      if (value === undefined) problems.push(`--${name}: needs a value`)
      else if (found.key === 'config') config = value
      else settings.set(found.key, value)
    }
  }
  return { config, settings, own: mine, words, problems }
}

function unknownFlag(name: string, own: readonly string[]): string {
  const known = ['config', ...optionKeys.map(flagOf), ...Object.keys(shortFlags), ...own]
  const near = nearest(name, known)
  return `--${clip(name)}: there is no such flag${near === undefined ? '' : `; did you mean --${near}?`}`
}

// SPDX-License-Identifier: Apache-2.0
/**
 * args: a command line into a command with its words and flags, by the table. What cannot be placed is named
 * together with the nearest thing that is known. Pure; flags that are options of the configuration are read by
 * config/flags.ts where a command takes all of them.
 */
import { type Flags, parseFlags } from '../config/flags.ts'
import { nearest } from '../config/nearest.ts'
import type { OptionKey } from '../config/schema.ts'
import { clip } from '../model/ids.ts'
import type { Command, FlagSpec } from './command.ts'
import { habit, unknownSentence } from './habits.ts'
import { commandNamed, commands, flagsOf, wordsOf } from './table.ts'

export interface Args extends Flags {
  readonly command: Command
  /** Flags of the command itself that have a value and are no options of the configuration. */
  readonly values: ReadonlyMap<string, string>
}

/** What to show instead of running a command. */
export type Parsed =
  | { readonly is: 'run'; readonly args: Args }
  | { readonly is: 'help'; readonly of: Command | undefined }
  | { readonly is: 'wrong'; readonly problems: readonly string[]; readonly of: Command | undefined }

const isHelp = (arg: string): boolean => arg === '--help' || arg === '-h'

/** Reads `argv` without program and script. Never throws. */
export function parseArgs(argv: readonly string[]): Parsed {
  const [first, ...rest] = argv
  if (first === undefined) return { is: 'wrong', problems: ['which command?'], of: undefined }
  if (isHelp(first)) return { is: 'help', of: undefined }
  const command = commandNamed(first === '--version' || first === '-V' ? 'version' : first)
  if (command === undefined) return { is: 'wrong', problems: [unknownCommand(first, rest[0])], of: undefined }
  const end = rest.indexOf('--')
  if ((end < 0 ? rest : rest.slice(0, end)).some(isHelp)) return { is: 'help', of: command }
  const { refused } = command
  if (refused && rest.some((arg) => refused.flag.test(arg)))
    return { is: 'wrong', problems: [`${command.name}: ${refused.why}`], of: command }
  const flags = command.takesOptions
    ? {
        ...parseFlags(
          rest,
          command.flags.map((f) => f.name),
        ),
        values: new Map<string, string>(),
      }
    : parseOwn(rest, flagsOf(command))
  const problems = [...flags.problems, ...wordProblems(command, flags.words)]
  // A wrong option is told together with what is wrong in the files, by the command that loads them.
  if (problems.length > flags.problems.length || (!command.takesOptions && problems.length > 0))
    return { is: 'wrong', problems, of: command }
  return { is: 'run', args: { ...flags, command } }
}

function unknownCommand(word: string, next: string | undefined): string {
  if (word.startsWith('-')) return `"${clip(word)}": the command comes first, then its flags`
  return unknownSentence(clip(word), { word, next, known: commands.map((c) => c.name) })
}

function wordProblems(command: Command, words: readonly string[]): string[] {
  if (command.operands !== undefined) return operandProblems(command, words)
  const known = wordsOf(command).map((w) => w.name)
  const list = known.join(', ')
  const [word, ...more] = words
  if (word === undefined) return command.wordNeeded ? [`${command.name}: which one: ${list}?`] : []
  if (known.length === 0) return [`${command.name} takes flags only, not "${clip(word)}"`]
  if (more.length > 0) return [`${command.name}: one word is enough: "${clip(more[0] ?? '')}" is too much`]
  if (known.includes(word)) return []
  const near = nearest(word, known)
  return [
    `${command.name}: "${clip(word)}" is not one of ${list}${near === undefined ? '' : `; did you mean ${near}?`}`,
  ]
}

function operandProblems({ name, operands }: Command, words: readonly string[]): string[] {
  if (operands === undefined) return []
  const [word] = words
  const hint = word === undefined ? undefined : habit(name, word)
  if (hint !== undefined) return [`${name}: "${clip(word ?? '')}" is no command of it; ${hint}`]
  const { min, max } = operands
  if (words.length < min) return [`${name}: which ${operands.usage}: ${operands.help.replaceAll('`', '')}`]
  if (words.length > max) return [`${name}: "${clip(words[max] ?? '')}" is too much`]
  return words.includes('') ? [`${name}: an empty name`] : []
}

/** `-o FILE` as `--output FILE`; what is no short flag stays. */
function inFull(arg: string, specs: readonly FlagSpec[]): string {
  const spec = arg.length === 2 ? specs.find((s) => s.short === arg[1]) : undefined
  return arg.startsWith('-') && spec !== undefined ? `--${spec.name}` : arg
}

/** Flags of a command that takes a few only. */
function parseOwn(argv: readonly string[], specs: readonly FlagSpec[]): Omit<Args, 'command'> {
  const settings = new Map<OptionKey, string | boolean>()
  const own = new Set<string>()
  const values = new Map<string, string>()
  const words: string[] = []
  const problems: string[] = []
  let config: string | undefined
  for (let i = 0; i < argv.length; i++) {
    const arg = inFull(argv[i] ?? '', specs)
    const [, name, given] = /^--([^=]+)(?:=([\s\S]*))?$/.exec(arg) ?? []
    if (name === undefined) {
      if (arg === '--') {
        words.push(...argv.slice(i + 1))
        break
      }
      if (arg.startsWith('-') && arg !== '-') problems.push(unknownFlag(arg, specs))
      else words.push(arg)
      continue
    }
    const spec = specs.find((s) => s.name === name)
    if (spec === undefined) problems.push(unknownFlag(arg, specs))
    else if (spec.value === undefined) {
      if (given === undefined) own.add(name)
      else problems.push(`--${name}: takes no value`)
    } else {
      const value = given ?? argv[++i]
      if (value === undefined) problems.push(`--${name}: needs a value`)
      else if (spec.option !== undefined) settings.set(spec.option, value)
      else if (name === 'config') config = value
      else values.set(name, value)
    }
  }
  return { config, settings, own, values, words, problems }
}

function unknownFlag(arg: string, specs: readonly FlagSpec[]): string {
  const name = arg.replace(/^-+/, '').replace(/=[\s\S]*$/, '')
  const near = nearest(
    name,
    specs.map((s) => s.name),
  )
  return `${clip(arg)}: there is no such flag${near === undefined ? '' : `; did you mean --${near}?`}`
}

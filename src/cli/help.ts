// SPDX-License-Identifier: Apache-2.0
/** help: what `gantry help` and `--help` show, from the table of commands. Pure. */
import { type Command, daemonFlags, type FlagSpec } from './command.ts'
import { imageCommands } from './image-commands.ts'
import { wrap } from './paint.ts'
import { commands, exitCodes, exitMeanings, flagsOf, optionFlags, wordsOf } from './table.ts'

const plain = (text: string): string => text.replaceAll('`', '')

const longText = (f: FlagSpec): string => `--${f.name}${f.value === undefined ? '' : `=${f.value}`}`
export const flagText = (f: FlagSpec): string =>
  f.short === undefined ? longText(f) : `-${f.short}, ${longText(f)}`

/** `gantry config default|show|check [flags]` */
export function usageOf(command: Command): string {
  const names = wordsOf(command).map((w) => w.name)
  const words = command.name === 'help' ? ' [COMMAND]' : names.length === 0 ? '' : ` ${names.join('|')}`
  const operands = command.operands === undefined ? '' : ` ${command.operands.usage}`
  const flags = command.flags
    .filter((f) => !daemonFlags.includes(f))
    .map((f) => ` [${longText(f)}]`)
    .join('')
  return `gantry ${command.name}${words}${operands}${flags}${command.takesOptions ? ' [--OPTION=VALUE …]' : ''}`
}

const row = (c: Command): string => `  ${c.name.padEnd(12)}${c.summary}`

export function overview(): string {
  return [
    'gantry: a container runtime for Kubernetes nodes',
    '',
    'Usage: gantry COMMAND [flags]',
    '',
    ...commands.filter((c) => !imageCommands.includes(c)).map(row),
    '',
    'Images:',
    ...imageCommands.map(row),
    '',
    'Begin with:',
    '  sudo gantry doctor                                  what this machine still needs',
    '  sudo gantry serve --self-check --default-network    start it, with a network of its own',
    '  sudo gantry status                                  how it is',
    '',
    `Exit codes: ${Object.values(exitCodes)
      .map((n) => `${n} ${exitWord(n)}`)
      .join(', ')}.`,
    'More: gantry help COMMAND, docs/cli.md, docs/config.md.',
    '',
  ].join('\n')
}

function exitWord(code: number): string {
  return ['done', 'failed', 'wrong command line', 'no daemon answers'][code] ?? 'stopped by Ctrl-C'
}

export function helpOf(command: Command): string {
  const lines = [`gantry ${command.name}: ${command.summary}`, '', `Usage: ${usageOf(command)}`, '']
  for (const text of command.about) lines.push(...wrap(plain(text), ''), '')
  if (command.words.length > 0) {
    for (const w of command.words) lines.push(`  ${w.name.padEnd(12)}${w.help}`)
    lines.push('')
  }
  if (command.operands !== undefined)
    lines.push(`  ${command.operands.usage.padEnd(16)}${plain(command.operands.help)}`, '')
  lines.push('Flags:')
  for (const f of flagsOf(command)) {
    const [first = '', ...more] = wrap(plain(f.help), '', 58)
    const text = flagText(f)
    if (text.length < 29) lines.push(`  ${text.padEnd(30)}${first}`)
    else lines.push(`  ${text}`, `${' '.repeat(32)}${first}`)
    lines.push(...more.map((l) => `${' '.repeat(32)}${l}`))
  }
  lines.push('', 'Examples:')
  const width = Math.max(...command.examples.map(([line]) => line.length))
  for (const [line, what] of command.examples)
    lines.push(`  ${what === '' ? line : `${line.padEnd(width)}   # ${what}`}`)
  return `${lines.join('\n')}\n`
}

/** What `gantryd --help` shows. */
export function gantrydHelp(): string {
  const flags = optionFlags.map((f) => `  ${flagText(f)}`)
  return `${['gantryd: the gantry daemon: the same as gantry serve', '', 'Usage: gantryd [flags]', '', ...flags, '', 'What each flag means: gantry serve --help, docs/config.md.'].join('\n')}\n`
}

/** The exit codes as lines of a document. */
export const exitLines = (): string[] =>
  Object.entries(exitCodes).map(([name, code]) => {
    const key = Object.keys(exitMeanings).find((k): k is keyof typeof exitMeanings => k === name)
    return `| ${code} | ${key === undefined ? '' : exitMeanings[key]} |`
  })

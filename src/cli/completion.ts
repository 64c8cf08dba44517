// SPDX-License-Identifier: Apache-2.0
/**
 * completion: scripts for bash, zsh and fish, from the table of commands. They hold all there is to complete,
 * so that no shell has to run gantry at each key. Pure.
 */
import { commands, flagsOf, wordsOf } from './table.ts'

const flagWords = (name: string): string[] =>
  flagsOf(commands.find((c) => c.name === name) ?? commands[0] ?? never()).map(
    (f) => `--${f.name}${f.value === undefined ? '' : '='}`,
  )

function never(): never {
  throw new Error('the table of commands is empty')
}

/** Text between single quotes of a shell. */
const quoted = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`

function bash(): string {
  const cases = commands.map((c) => {
    const words = [...wordsOf(c).map((w) => w.name), ...flagWords(c.name)]
    return `    ${c.name}) words=${quoted(words.join(' '))} ;;`
  })
  return `# bash completion of gantry
_gantry() {
  local cur=\${COMP_WORDS[COMP_CWORD]} words
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W ${quoted(commands.map((c) => c.name).join(' '))} -- "$cur"))
    return
  fi
  case "\${COMP_WORDS[1]}" in
${cases.join('\n')}
    *) words= ;;
  esac
  case "\${COMP_WORDS[COMP_CWORD-1]}" in
    =) compopt -o default 2>/dev/null; return ;;
  esac
  case "$cur" in
    =) compopt -o default 2>/dev/null; return ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
  case "\${COMPREPLY[0]}" in *=) compopt -o nospace 2>/dev/null ;; esac
}
complete -F _gantry gantry
`
}

/** A colon and brackets have a meaning in zsh's descriptions. */
const zshText = (text: string): string => text.replaceAll('`', '').replace(/[[\]:]/g, '\\$&')

function zsh(): string {
  const cases = commands.map((c) => {
    const flags = flagsOf(c).map((f) =>
      quoted(
        `--${f.name}${f.value === undefined ? '' : '='}[${zshText(f.help)}]${f.value === undefined ? '' : `:${f.value}:_files`}`,
      ),
    )
    const words = wordsOf(c)
    const word = words.length === 0 ? [] : [quoted(`1:word:(${words.map((w) => w.name).join(' ')})`)]
    return `    ${c.name}) _arguments ${[...word, ...flags].join(' ')} ;;`
  })
  return `#compdef gantry
_gantry() {
  if (( CURRENT == 2 )); then
    local -a commands
    commands=(${commands.map((c) => quoted(`${c.name}:${zshText(c.summary)}`)).join(' ')})
    _describe command commands
    return
  fi
  local command=$words[2]
  shift words
  (( CURRENT-- ))
  case $command in
${cases.join('\n')}
  esac
}
if [ "\${funcstack[1]}" = _gantry ]; then _gantry "$@"; else compdef _gantry gantry; fi
`
}

function fish(): string {
  const lines = ['# fish completion of gantry', 'complete -c gantry -f']
  for (const c of commands) {
    lines.push(`complete -c gantry -n __fish_use_subcommand -a ${c.name} -d ${quoted(c.summary)}`)
    const here = `-n ${quoted(`__fish_seen_subcommand_from ${c.name}`)}`
    if (c.name !== 'help')
      for (const w of wordsOf(c)) lines.push(`complete -c gantry ${here} -a ${w.name} -d ${quoted(w.help)}`)
    for (const f of flagsOf(c)) {
      const value = f.value === undefined ? '' : ' -r -F'
      lines.push(`complete -c gantry ${here} -l ${f.name}${value} -d ${quoted(f.help.replaceAll('`', ''))}`)
    }
  }
  const names = commands.map((c) => c.name).join(' ')
  lines.push(`complete -c gantry -n '__fish_seen_subcommand_from help' -a ${quoted(names)}`)
  return `${lines.join('\n')}\n`
}

/** The script for one of the shells of the table. */
export function completion(shell: string): string {
  if (shell === 'zsh') return zsh()
  return shell === 'fish' ? fish() : bash()
}

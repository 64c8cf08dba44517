// SPDX-License-Identifier: Apache-2.0
/**
 * The table of commands and what follows from it: parsing, help, completion and docs/cli.md all know every
 * command and flag, and slips are answered with the nearest word.
 */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { parseArgs } from '../../../src/cli/args.ts'
import { completion } from '../../../src/cli/completion.ts'
import { helpOf, overview } from '../../../src/cli/help.ts'
import { cliPage } from '../../../src/cli/page.ts'
import { painter, wrap } from '../../../src/cli/paint.ts'
import { commands, exitCodes, flagsOf, shells, wordsOf } from '../../../src/cli/table.ts'
import { optionKeys } from '../../../src/config/schema.ts'

const repo = fileURLToPath(new URL('../../..', import.meta.url))

describe('what follows from the table', () => {
  test('cli.ts runs every command of it and no other', () => {
    const source = readFileSync(`${repo}src/cli.ts`, 'utf8')
    const body = /const run: [\s\S]*?= \{\n([\s\S]*?)\n\}/.exec(source)?.[1] ?? ''
    const names = [...body.matchAll(/^ {2}'?([\w-]+)'?:/gm)].map((m) => m[1])
    expect(names.sort()).toEqual(commands.map((c) => c.name).sort())
  })

  test('docs/cli.md names every command, word and flag, and is what the generator writes', () => {
    const page = readFileSync(`${repo}docs/cli.md`, 'utf8')
    expect(page).toBe(cliPage())
    for (const c of commands) {
      const part = page.slice(page.indexOf(`\n## gantry ${c.name}\n`)).split('\n## ')[1] ?? ''
      for (const f of c.flags) expect(part, c.name).toMatch(new RegExp(`\`(-\\w, )?--${f.name}[=\`]`))
      for (const w of c.words) expect(part, c.name).toContain(`\`${w.name}\``)
      for (const [line] of c.examples) expect(part).toContain(line)
    }
    for (const code of Object.values(exitCodes)) expect(page).toContain(`| ${code} |`)
  })

  test('the help of a command shows all its flags and examples, the overview all commands', () => {
    for (const c of commands) {
      const text = helpOf(c)
      for (const f of flagsOf(c)) expect(text).toContain(`--${f.name}`)
      for (const [line] of c.examples) expect(text).toContain(line)
      expect(overview()).toMatch(new RegExp(`^ {2}${c.name} +${c.summary.slice(0, 10)}`, 'm'))
      for (const line of text.split('\n')) expect(line.length, line).toBeLessThan(125)
    }
  })

  test('a command that takes options takes all of them', () => {
    const serve = commands.find((c) => c.name === 'serve')
    if (serve === undefined) throw new Error('there is no serve')
    const keys = new Set(flagsOf(serve).flatMap((f) => (f.option === undefined ? [] : [f.option])))
    expect([...keys].sort()).toEqual([...optionKeys].sort())
  })

  test.each(shells.map((s) => s.name))(
    'the completion for %s knows every command, word and flag',
    (shell) => {
      const script = completion(shell)
      for (const c of commands) {
        expect(script).toContain(c.name)
        for (const w of wordsOf(c)) expect(script).toContain(w.name)
        for (const f of flagsOf(c))
          expect(script).toContain(shell === 'fish' ? `-l ${f.name}` : `--${f.name}`)
      }
    },
  )

  test('bash completes commands, words and flags with it', () => {
    const complete = (...words: string[]): string[] => {
      const list = words.map((w) => `'${w}'`).join(' ')
      const script = `${completion('bash')}\nCOMP_WORDS=(gantry ${list}); COMP_CWORD=${words.length}; _gantry; printf '%s\\n' "\${COMPREPLY[@]}"`
      const ran = spawnSync('bash', ['-c', script], { encoding: 'utf8' })
      expect(ran.stderr).toBe('')
      return ran.stdout.split('\n').filter((line) => line !== '')
    }
    expect(complete('co')).toEqual(['config', 'completion'])
    expect(complete('config', 'sh')).toEqual(['show'])
    expect(complete('status', '--so')).toEqual(['--socket='])
    expect(complete('serve', '--self')).toEqual(['--self-check'])
    expect(complete('nonsense', '')).toEqual([])
  })
})

const run = (...argv: string[]) => {
  const parsed = parseArgs(argv)
  if (parsed.is !== 'run') throw new Error(`${argv.join(' ')} gives ${JSON.stringify(parsed)}`)
  return parsed.args
}

describe('parsing', () => {
  test('a command with its flags and words', () => {
    const status = run('status', '--json', '--socket', '/s', '--config=/c')
    expect([...status.own]).toEqual(['json'])
    expect([...status.settings]).toEqual([['socket', '/s']])
    expect(status.config).toBe('/c')
    const config = run('config', 'show', '--json', '--log-level=debug')
    expect([config.words, [...config.own], [...config.settings]]).toEqual([
      ['show'],
      ['json'],
      [['log.level', 'debug']],
    ])
    expect([...run('serve', '--self-check', '--default-network').settings]).toEqual([
      ['cni.default_network', true],
    ])
    expect(run('--version').command.name).toBe('version')
    const save = run('save', '-o', 'f.tar', '--format=oci', 'a', 'b')
    expect([save.words, [...save.values]]).toEqual([
      ['a', 'b'],
      [
        ['output', 'f.tar'],
        ['format', 'oci'],
      ],
    ])
    expect([...run('images', '-q').own]).toEqual(['quiet'])
    expect(run('images', '--', '-q').words).toEqual(['-q'])
    expect(run('diff', 'ls').words).toEqual(['ls'])
  })

  test.each([
    [['--help'], undefined],
    [['-h'], undefined],
    [['status', '--help'], 'status'],
    [['config', 'show', '-h'], 'config'],
  ])('%j shows help', (argv, of) => {
    const parsed = parseArgs(argv)
    expect([parsed.is, parsed.is === 'help' ? parsed.of?.name : '']).toEqual(['help', of])
  })

  test.each([
    [[], 'which command?'],
    [['statu'], 'there is no command "statu"; did you mean status?'],
    [['zzzzzzzzz'], 'there is no command "zzzzzzzzz"'],
    [['--json', 'status'], '"--json": the command comes first, then its flags'],
    [['status', '--jsn'], '--jsn: there is no such flag; did you mean --json?'],
    [['status', '-j'], '-j: there is no such flag'],
    [['status', '--json=1'], '--json: takes no value'],
    [['status', '--socket'], '--socket: needs a value'],
    [['status', 'all'], 'status takes flags only, not "all"'],
    [['status', '--', '--json'], 'status takes flags only, not "--json"'],
    [['config'], 'config: which one: default, show, check?'],
    [['config', 'chekc'], 'config: "chekc" is not one of default, show, check; did you mean check?'],
    [['config', 'show', 'more'], 'config: one word is enough: "more" is too much'],
    [['completion', 'fihs'], 'completion: "fihs" is not one of bash, zsh, fish; did you mean fish?'],
    [['help', 'srve'], /^help: "srve" is not one of .*; did you mean serve\?$/],
    [['version', '--x\n\x1b[2J'], '--x??[2J: there is no such flag'],
    [['pull'], 'pull: which IMAGE…: what to fetch, as registry/repository:tag or repository@digest'],
    [['tag', 'a'], 'tag: which IMAGE NEW-NAME: the image, then its new name'],
    [['tag', 'a', 'b', 'c'], 'tag: "c" is too much'],
    [['rmi', ''], 'rmi: an empty name'],
    [['load', 'app.tar'], 'load takes flags only, not "app.tar"'],
    [['save', 'app', '-o'], '--output: needs a value'],
    [['pull', '-x', 'busybox'], '-x: there is no such flag'],
    [['ps'], 'there is no command "ps"; crictl ps lists containers; gantry status counts them'],
    [['rm', 'x'], /^there is no command "rm"; gantry rmi removes images; containers: kubectl delete pod/],
    [['image', 'ls'], 'there is no command "image"; gantry images'],
    [['image', 'import', 'x'], 'there is no command "image"; gantry load'],
    [['image'], /^there is no command "image"; gantry has no groups of commands/],
    [['images', 'ls'], 'images: "ls" is no command of it; gantry images'],
    [['images', 'pull', 'x'], 'images: "pull" is no command of it; gantry pull'],
    [['constructor'], 'there is no command "constructor"'],
  ])('%j is refused', (argv, message) => {
    const parsed = parseArgs(argv)
    expect(parsed.is).toBe('wrong')
    expect(parsed.is === 'wrong' ? parsed.problems : []).toEqual([
      typeof message === 'string' ? message : expect.stringMatching(message),
    ])
  })

  test('a wrong option stays for the command, which tells it with all that is wrong in the files', () => {
    expect(run('serve', '--rot=/x').problems).toEqual(['--rot: there is no such flag; did you mean --root?'])
  })
})

describe('colour and width', () => {
  test.each([
    [{ isTTY: true }, {}, true],
    [{ isTTY: true }, { NO_COLOR: '' }, true],
    [{ isTTY: true }, { NO_COLOR: '1' }, false],
    [{ isTTY: true }, { TERM: 'dumb' }, false],
    [{}, {}, false],
  ])('%j with %j: %s', (stream, env, coloured) => {
    expect(painter(stream, env)('red', 'x') !== 'x').toBe(coloured)
  })

  test('wrapping loses no word and keeps to the width', () => {
    const text = 'one two three four five six seven'
    const lines = wrap(text, '  ', 14)
    expect(lines.every((l) => l.startsWith('  ') && l.length <= 14)).toBe(true)
    expect(lines.map((l) => l.trim()).join(' ')).toBe(text)
  })
})

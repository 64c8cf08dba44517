// SPDX-License-Identifier: Apache-2.0
/**
 * check-tidy: the habits that a linter does not know: licence line, opening paragraph, size budgets, banned
 * names, numbered open ends, no blocking file calls in the daemon, leak checks in suites that touch the host,
 * abort behaviour on every member of Host. Pure over path → text; as a program it prints and exits 1, also when
 * it saw fewer files than git lists.
 */
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Problem } from './check-layers.ts'
import { blank, functionsOf, lineAt } from './source.ts'
import { type Files, gitFiles, missed, readTree } from './tree.ts'

export const maxFileLines = 400
/** Lines of a function without the named functions inside it; a factory may have this and its methods. */
export const maxFunctionLines = 60
export const maxFactoryLines = 200
const bannedNames = /^(?:utils?|helpers?|common|misc|manager)\.[a-z.]+$/
const bannedFolders = /(?:^|\/)(?:utils?|helpers?|common|misc|manager)\//
/** Where a blocking file call is right: before the daemon serves, or in a process of its own. */
const syncAllowed = [
  /^src\/(?:main|claim|sink)\.ts$/,
  /^src\/cli(?:\.ts|\/)/,
  /^src\/config\//,
  /^src\/host\/native\.ts$/,
]
const fileCall =
  'access|append(?:File)?|chmod|chown|close|copyFile|cp|exists|fchmod|fchown|fdatasync|fstat|fsync|ftruncate|link|lstat|mkdir|mkdtemp|open|opendir|read|readdir|readFile|readlink|readv|realpath|rename|rm|rmdir|stat|statfs|symlink|truncate|unlink|utimes|write|writeFile|writev'
const syncCall = new RegExp(`\\b(?:${fileCall})Sync\\b`, 'g')
/** Written apart, so that this file does not find itself. */
const openEnd = new RegExp(`\\b(?:${['TO' + 'DO', 'FIX' + 'ME', 'HA' + 'CK'].join('|')})\\b(?!.*#\\d+)`, 'g')
const touchesHost = /^test\/(?:integration|crash)\/.*\.test\.ts$/
const hostPage = 'src/host/index.ts'
const folders = ['src', 'test', 'scripts', 'conformance', 'bench', 'native', 'vitest.config.ts']

/** Every problem in `files` (path → text). */
export function checkTidy(files: Files): Problem[] {
  const problems: Problem[] = []
  for (const [file, text] of files) {
    const say = (line: number, rule: string, message: string): void => {
      problems.push({ file, line, rule, message })
    }
    checkHead(file, files, say)
    checkSize(file, text, say)
    const name = file.slice(file.lastIndexOf('/') + 1)
    if (bannedNames.test(name) || bannedFolders.test(file))
      say(1, 'banned-name', 'a name that says nothing: name the file after what it owns')
    for (const m of text.matchAll(openEnd))
      say(lineAt(text, m.index), 'todo-number', `${m[0]} needs the number of its issue, as in #12`)
    if (!file.endsWith('.ts')) continue
    const code = blank(text)
    if (file.startsWith('src/') && !syncAllowed.some((allowed) => allowed.test(file)))
      for (const m of code.matchAll(syncCall))
        say(lineAt(code, m.index), 'no-sync', `${m[0]} blocks the daemon: use the one that awaits`)
    if (touchesHost.test(file) && !/\bexpectNoLeaks\s*\(/.test(code))
      say(1, 'leak-check', 'a suite that touches the host ends with expectNoLeaks()')
    if (file === hostPage) checkAborts(text, say)
  }
  return problems
}

type Say = (line: number, rule: string, message: string) => void

/** Licence first, then a comment of at least one sentence, or in C a pointer to the header that has it. */
function checkHead(file: string, files: Files, say: Say): void {
  const lines = (files.get(file) ?? '').split('\n')
  const first = lines[0]?.startsWith('#!') ? 1 : 0
  if (!/^(?:\/\/|#|\/\*) SPDX-License-Identifier: Apache-2\.0(?: \*\/)?$/.test(lines[first] ?? '')) {
    say(first + 1, 'spdx', 'the first line is not "SPDX-License-Identifier: Apache-2.0" in a comment')
    return
  }
  const rest = lines
    .slice(first + 1)
    .join('\n')
    .trimStart()
  const opening =
    /^(?:\/\*[\s\S]*?\*\/|(?:\/\/[^\n]*\n?)+|(?:#(?!include|define|if)[^\n]*\n?)+)/.exec(rest)?.[0] ?? ''
  const header = /\bSee ([\w.-]+\.h)\b/.exec(opening)?.[1]
  if (header !== undefined && files.has(`${dirname(file)}/${header}`)) return
  const words = opening.match(/[\p{L}]{2,}/gu)?.length ?? 0
  if (words < 5) say(first + 2, 'opening', 'no opening paragraph: what does the file own, promise, not do?')
}

function checkSize(file: string, text: string, say: Say): void {
  const lines = text.split('\n').length - (text.endsWith('\n') ? 1 : 0)
  if (lines > maxFileLines) say(maxFileLines + 1, 'file-length', `${lines} lines, at most ${maxFileLines}`)
  if (!file.endsWith('.ts')) return
  for (const f of functionsOf(text)) {
    // The callback of describe is a list of tests, not a function that somebody has to follow.
    if (file.startsWith('test/') && /^describe\b/.test(f.header)) continue
    if (f.ownLines > maxFunctionLines)
      say(f.line, 'function-length', `a function of ${f.ownLines} lines, at most ${maxFunctionLines}`)
    else if (f.lines > maxFactoryLines)
      say(f.line, 'function-length', `${f.lines} lines with what is inside, at most ${maxFactoryLines}`)
  }
}

/** Every member of the interface Host says in its comment what an abort does to it. */
function checkAborts(text: string, say: Say): void {
  const code = blank(text)
  const start = code.search(/^export interface Host\b/m)
  if (start < 0) {
    say(1, 'abort', 'the page has no "export interface Host"')
    return
  }
  const body = code.slice(start, code.indexOf('\n}', start))
  const members = [...body.matchAll(/^ {2}(?:readonly )?([\w$]+)\??\s*[:(<]/gm)]
  for (const m of members) {
    const before = text.slice(0, start + m.index).trimEnd()
    const comment = before.endsWith('*/') ? before.slice(before.lastIndexOf('/**')) : ''
    if (!/@abort (?:stops|kills|finishes)\b/.test(comment))
      say(
        lineAt(code, start + m.index),
        'abort',
        `${m[1]}: its comment does not say "@abort stops|kills|finishes"`,
      )
  }
  if (members.length === 0) say(lineAt(code, start), 'abort', 'interface Host has no member')
}

const wanted = (path: string): boolean =>
  /\.(?:ts|sh|c|h)$/.test(path) && folders.some((f) => path === f || path.startsWith(`${f}/`))

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const repo = dirname(dirname(fileURLToPath(import.meta.url)))
  const files = readTree(repo, [''], wanted)
  const unseen = missed(files, gitFiles(repo), wanted)
  for (const path of unseen) console.error(`${path}: listed by git, but this check did not see it`)
  const problems = checkTidy(files)
  for (const p of problems) console.error(`${p.file}:${p.line}: ${p.rule}: ${p.message}`)
  if (files.size === 0) console.error('no file seen')
  process.exitCode = problems.length + unseen.length > 0 || files.size === 0 ? 1 : 0
}

// SPDX-License-Identifier: Apache-2.0
/**
 * source: just enough understanding of TypeScript text for the checks: which characters are comment, which are
 * string, where the imports and the function bodies are. It relies on the form that Biome enforces and is no
 * parser. Pure.
 */

export interface Import {
  readonly specifier: string
  readonly line: number
  /** Nothing of it exists at run time. */
  readonly typeOnly: boolean
  /** An `export … from`. */
  readonly reexport: boolean
}

export interface FunctionBody {
  readonly line: number
  /** From brace to brace. */
  readonly lines: number
  /** Without the functions inside that have a name of their own, as the methods of a factory have. */
  readonly ownLines: number
  /** The text in front of the body, for the message. */
  readonly header: string
}

export const lineAt = (text: string, at: number): number => text.slice(0, at).split('\n').length

/** Tokens whose inside is not code, in one pass: comments, strings, templates and regular expressions. */
const token =
  /\/\/[^\n]*|\/\*[\s\S]*?\*\/|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|(?<=(?:^|[=(,:;[!&|?{}>\n]|return|=>)\s*)\/(?![*/])(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\[\n])+\/[dgimsuvy]*|`/gm

const hollow = (text: string): string => text.replace(/[^\n]/g, ' ')

/** The end of the template that starts at `start`, with its `${…}` parts (which may hold templates again). */
function templateEnd(text: string, start: number): number {
  for (let i = start + 1; i < text.length; i++) {
    if (text[i] === '\\') i++
    else if (text[i] === '`') return i + 1
    else if (text[i] === '$' && text[i + 1] === '{') {
      let depth = 1
      for (i += 2; i < text.length && depth > 0; i++) {
        if (text[i] === '`') i = templateEnd(text, i) - 1
        else if (text[i] === '{') depth++
        else if (text[i] === '}') depth--
      }
      i--
    }
  }
  return text.length
}

/** The same text, as long and with the same lines, with comments blanked and, unless kept, strings too. */
export function blank(text: string, keepStrings = false): string {
  let out = ''
  let at = 0
  const find = new RegExp(token)
  for (let m = find.exec(text); m !== null; m = find.exec(text)) {
    const end = m[0] === '`' ? templateEnd(text, m.index) : m.index + m[0].length
    const comment = m[0].startsWith('//') || m[0].startsWith('/*')
    const body = text.slice(m.index, end)
    out += text.slice(at, m.index)
    if (comment) out += hollow(body)
    else if (keepStrings) out += body
    else out += body.length < 2 ? body : `${body[0]}${hollow(body.slice(1, -1))}${body.at(-1)}`
    at = end
    find.lastIndex = end
  }
  return out + text.slice(at)
}

/** Every import and re-export, static and dynamic, also `require` and `import('…')` types. */
export function importsOf(text: string): Import[] {
  const code = blank(text, true)
  const found: Import[] = []
  const fixed = /^[ \t]*(import|export)\b([^'"`;]*?\bfrom\s*|\s*)(['"])([^'"\n]+)\3/gm
  for (const m of code.matchAll(fixed)) {
    const [whole, keyword = '', clause = '', , specifier = ''] = m
    if (keyword === 'export' && clause.trim() === '') continue
    const names = /\{([^}]*)\}/
      .exec(clause)?.[1]
      ?.split(',')
      .map((n) => n.trim())
      .filter((n) => n !== '')
    const beside = clause
      .replace(/\{[^}]*\}/, '')
      .replace(/\bfrom\b/, '')
      .replaceAll(',', '')
      .trim()
    const allTypes =
      names !== undefined && names.length > 0 && beside === '' && names.every((n) => n.startsWith('type '))
    const typeOnly = /^\s*type\b(?!\s+from\b)/.test(clause) || allTypes
    const line = lineAt(code, m.index + whole.length - whole.trimStart().length)
    found.push({ specifier, line, typeOnly, reexport: keyword === 'export' })
  }
  const calls = /\b(import|require)\s*\(\s*(['"`])([^'"`\n]+)\2/g
  for (const m of code.matchAll(calls)) {
    const before = code.slice(0, m.index).trimEnd()
    const typeOnly = m[1] === 'import' && /(:|<|\||&|\btypeof)$/.test(before)
    found.push({ specifier: m[3] ?? '', line: lineAt(code, m.index), typeOnly, reexport: false })
  }
  return found
}

const control = new Set(['if', 'for', 'while', 'switch', 'catch', 'with', 'await'])

/** Whether the `{` after `before` opens the body of a function, judged by what stands in front of it. */
function opensFunction(before: string): boolean {
  if (/=>\s*$/.test(before)) return true
  const close = /\)(\s*:\s*[^(){};]*)?\s*$/.exec(before)
  if (close === null) return false
  let depth = 0
  for (let i = close.index; i >= 0; i--) {
    if (before[i] === ')') depth++
    else if (before[i] === '(' && --depth === 0) {
      const word = /([\w$]+)\s*(?:<[^<>]*>)?\s*$/.exec(before.slice(0, i))?.[1]
      return word !== undefined && !control.has(word)
    }
  }
  return false
}

/** `name(…) {`, `function name(…) {`, `const name = (…) => {`, `name: async (…) => {`: not just a callback. */
const named =
  /^(?:(?:export|const|readonly|static|async|get|set|override|function)\b\s*)*[\w$#]+\s*(?:[(<]|[:=]\s*(?:async\s*)?[(<])/

/** Every function body with its length in lines, braces included. */
export function functionsOf(text: string): FunctionBody[] {
  const code = blank(text)
  const open: { at: number; isFunction: boolean; inside: number }[] = []
  const found: FunctionBody[] = []
  for (const m of code.matchAll(/[{}]/g)) {
    if (m[0] === '{') {
      const before = code.slice(Math.max(0, m.index - 2000), m.index)
      open.push({ at: m.index, isFunction: opensFunction(before), inside: 0 })
      continue
    }
    const start = open.pop()
    if (start === undefined) continue
    const line = lineAt(code, start.at)
    const lines = lineAt(code, m.index) - line + 1
    const header = text.slice(text.lastIndexOf('\n', start.at) + 1, start.at).trim()
    const outer = open.at(-1)
    const own = start.isFunction && named.test(header)
    if (outer !== undefined) outer.inside += own ? lines : start.inside
    if (start.isFunction) found.push({ line, lines, ownLines: lines - start.inside, header })
  }
  return found
}

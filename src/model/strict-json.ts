// SPDX-License-Identifier: Apache-2.0
/**
 * JSON that decides about trust: one key twice is an error, as two readers could take different ones, and each
 * place can be named by its path and line. Pure. Says nothing about what keys mean.
 */
import { Fault } from '../base/fault.ts'
import { clip } from './ids.ts'

export interface StrictJson {
  readonly value: unknown
  /** The line of the place at `path` (`a.b["c/d"][0]`), or of the nearest place around it. */
  lineOf(path: string): number
}

/** Deeper JSON than any policy or signature has. */
const DEPTH_MAX = 32
const TOKEN = /"[^"\\]*(?:\\.[^"\\]*)*"|[{}[\],\n]/g

interface Frame {
  readonly path: string
  /** Keys seen so far; undefined in an array. */
  readonly keys: Set<string> | undefined
  key: string
  index: number
  atKey: boolean
}

/** The path of a key below `path`. */
export function keyPath(path: string, key: string): string {
  if (!/^[A-Za-z_][\w-]*$/.test(key)) return `${path}[${JSON.stringify(clip(key))}]`
  return path === '' ? key : `${path}.${key}`
}

/** Parses `text`; throws `invalid` with the line for a syntax error, a repeated key and too much depth. */
export function parseStrictJson(text: string): StrictJson {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (e) {
    throw new Fault('invalid', `not JSON: ${clip(e instanceof Error ? e.message : String(e))}`)
  }
  const lines = new Map<string, number>()
  const stack: Frame[] = []
  let line = 1
  for (const [token] of text.matchAll(TOKEN)) {
    const top = stack.at(-1)
    if (token === '\n') line++
    else if (token === '{' || token === '[') {
      if (stack.length >= DEPTH_MAX)
        throw new Fault('invalid', `line ${line}: nested more than ${DEPTH_MAX} deep`)
      const path =
        top === undefined ? '' : top.keys ? keyPath(top.path, top.key) : `${top.path}[${top.index}]`
      if (!lines.has(path)) lines.set(path, line)
      stack.push({ path, keys: token === '{' ? new Set() : undefined, key: '', index: 0, atKey: true })
    } else if (token === '}' || token === ']') stack.pop()
    else if (token === ',') {
      if (top) Object.assign(top, { index: top.index + 1, atKey: true })
    } else if (top?.keys && top.atKey) takeKey(top, JSON.parse(token), { line, lines })
  }
  return { value, lineOf: (path) => nearest(lines, path) }
}

function takeKey(frame: Frame, key: string, at: { line: number; lines: Map<string, number> }): void {
  const path = keyPath(frame.path, key)
  if (frame.keys?.has(key)) throw new Fault('invalid', `line ${at.line}: ${path} is there twice`)
  frame.keys?.add(key)
  frame.key = key
  frame.atKey = false
  at.lines.set(path, at.line)
}

function nearest(lines: ReadonlyMap<string, number>, path: string): number {
  for (let at = path; ; at = at.slice(0, -1)) {
    const line = lines.get(at)
    if (line !== undefined) return line
    if (at === '') return 1
  }
}

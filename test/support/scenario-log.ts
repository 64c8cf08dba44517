// SPDX-License-Identifier: Apache-2.0
/**
 * scenario-log: container logs in the CRI's form, read the way the kubelet reads them: every line must parse, and
 * partial lines are joined to what the program wrote. A line of another form is an error, not left out.
 */
import { readFile } from 'node:fs/promises'
import { waitUntil } from './child.ts'

export interface LogLine {
  readonly time: string
  readonly stream: 'stdout' | 'stderr'
  readonly tag: 'F' | 'P'
  readonly text: string
}

/** RFC 3339 with nanoseconds, stream, tag, the text. */
const form = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}(?:Z|[+-]\d\d:\d\d)) (stdout|stderr) ([FP]) (.*)$/s

/** All lines of the file. Throws at the first that is not in the CRI's form, and for a last one without newline. */
export async function logLines(path: string): Promise<LogLine[]> {
  const text = await readFile(path, 'utf8')
  if (text === '') return []
  if (!text.endsWith('\n')) throw new Error(`${path}: the last line has no newline`)
  return text
    .slice(0, -1)
    .split('\n')
    .map((line) => {
      const [, time, stream, tag, rest] = form.exec(line) ?? []
      if (time === undefined || rest === undefined)
        throw new Error(`${path}: not a CRI log line: ${line.slice(0, 200)}`)
      return {
        time,
        stream: stream === 'stderr' ? 'stderr' : 'stdout',
        tag: tag === 'P' ? 'P' : 'F',
        text: rest,
      }
    })
}

/** What the program wrote to one stream, as far as it is logged. */
export async function logText(path: string, stream: 'stdout' | 'stderr' = 'stdout'): Promise<string> {
  const lines = await logLines(path)
  return lines
    .filter((l) => l.stream === stream)
    .map((l) => (l.tag === 'F' ? `${l.text}\n` : l.text))
    .join('')
}

/** Waits until the stream holds `text`; resolves with all of the stream. */
export async function waitForLog(path: string, text: string, withinMs = 15_000): Promise<string> {
  let seen = ''
  await waitUntil(
    `${path} has ${JSON.stringify(text)}`,
    async () => {
      seen = await logText(path).catch(() => '')
      return seen.includes(text)
    },
    { withinMs, everyMs: 25 },
  )
  return seen
}

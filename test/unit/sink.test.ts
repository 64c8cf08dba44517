// SPDX-License-Identifier: Apache-2.0
/** The log on a real stderr: both forms, the journal's priorities, a level that changes, and no secrets. */

import { spawnSync } from 'node:child_process'
import { closeSync, fstatSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const module = fileURLToPath(new URL('../../src/sink.ts', import.meta.url))

/** Runs a script with `sink` open, and gives what it wrote to stderr, line by line. */
function written(script: string, how: { format: 'json' | 'text'; journal?: boolean }): string[] {
  const folder = mkdtempSync(join(tmpdir(), 'gt-sink-'))
  const path = join(folder, 'stderr')
  const fd = openSync(path, 'w')
  try {
    const { dev, ino } = fstatSync(fd, { bigint: true })
    const open = `const sink = openLog({ level: 'info', format: '${how.format}' }); const { log } = sink`
    const source = `import { openLog } from ${JSON.stringify(module)}; ${open}; ${script}`
    const env = { ...process.env, JOURNAL_STREAM: how.journal ? `${dev}:${ino}` : '1:1' }
    const args = ['--input-type=module', '--no-warnings', '--eval', source]
    const { status } = spawnSync(process.execPath, args, { env, stdio: ['ignore', 'ignore', fd] })
    const text = readFileSync(path, 'utf8')
    expect([status, text]).toEqual([0, text])
    return text.trimEnd().split('\n')
  } finally {
    closeSync(fd)
    rmSync(folder, { recursive: true })
  }
}

const EACH = `log.debug('a'); log.info('b', { n: 1 }); log.warn('c'); log.error('d')`

test.each(['json', 'text'] as const)('%s: the level holds, and its change at once', (format) => {
  const script = `${EACH}; sink.level = 'error'; ${EACH}; sink.level = 'debug'; ${EACH}`
  const events = written(script, { format }).map((line) =>
    format === 'json' ? JSON.parse(line).msg : (line.split(' ').find((w) => /^[a-d]$/.test(w)) ?? line),
  )
  expect(events.join('')).toBe('bcddabcd')
})

test('in the journal each line begins with its priority, elsewhere none does', () => {
  const script = `sink.level = 'debug'; ${EACH}`
  for (const format of ['json', 'text'] as const) {
    const lines = written(script, { format, journal: true })
    expect(lines.map((l) => l.slice(0, 3))).toEqual(['<7>', '<6>', '<4>', '<3>'])
    if (format === 'json') expect(JSON.parse(lines[1]?.slice(3) ?? '')).toMatchObject({ msg: 'b', n: 1 })
    expect(written(script, { format }).some((l) => l.startsWith('<'))).toBe(false)
  }
})

test('what the protos mark as secret is not written, at any depth; numbers of any size are', () => {
  const fields = `{ password: 's3cret', nested: [{ identity_token: 's3cret', n: 5n }], user: 'u' }`
  for (const format of ['json', 'text'] as const) {
    const [line = ''] = written(`log.with({ registryToken: 's3cret' }).info('x', ${fields})`, { format })
    expect(line).not.toContain('s3cret')
    expect(line).toContain('[redacted]')
    expect(line).toMatch(/user"?[:=]"?u/)
  }
})

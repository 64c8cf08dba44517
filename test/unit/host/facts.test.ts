// SPDX-License-Identifier: Apache-2.0
/** What is read from /proc about this process: how many files it may let others open. */
import { expect, it } from 'vitest'
import { parseOpenFiles } from '../../../src/host/facts.ts'

const line = (soft: string, hard: string) =>
  `Limit                     Soft Limit           Hard Limit           Units\nMax open files            ${soft.padEnd(20)} ${hard.padEnd(20)} files\n`

it.each([
  ['the hard limit counts, the soft one was raised by Node', line('524288', '524288'), 524_288],
  ['also where they differ', line('1024', '4096'), 4096],
  ['no number is as many as the kernel gives by itself', line('unlimited', 'unlimited'), 1_048_576],
  ['no line at all likewise', '', 1_048_576],
])('%s', (_what, text, wanted) => expect(parseOpenFiles(text)).toBe(wanted))

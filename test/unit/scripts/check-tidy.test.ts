// SPDX-License-Identifier: Apache-2.0
/**
 * The tidy check proves itself on one seeded violation per rule, on files in memory, and stays silent on files
 * that keep the rules.
 */
import { describe, expect, test } from 'vitest'
import { checkTidy, maxFactoryLines, maxFileLines, maxFunctionLines } from '../../../scripts/check-tidy.ts'

const head =
  '// SPDX-License-Identifier: Apache-2.0\n/** Owns one thing, promises another, does no third. */\n'
const lines = (n: number, line = '  x()'): string => Array(n).fill(line).join('\n')

function rulesOf(files: Record<string, string>): string[] {
  return checkTidy(new Map(Object.entries(files))).map((p) => `${p.file}:${p.line}: ${p.rule}`)
}

const openEnd = ['TO', 'DO'].join('')
const hostPage = `${head}export interface Host {\n  /** Pins it. @abort finishes */\n  readonly netns: Netns\n  /**\n   * Runs it.\n   * @abort kills\n   */\n  run(scope: Scope): void\n}\n`

describe('check-tidy', () => {
  test('files that keep the rules have no problem', () => {
    const good = {
      'src/base/a.ts': `${head}export function f(): void {\n${lines(maxFunctionLines - 2)}\n}\n`,
      'src/main.ts': `${head}readFileSync('x')\n`,
      'src/host/index.ts': hostPage,
      'scripts/a.sh':
        '#!/bin/sh\n# SPDX-License-Identifier: Apache-2.0\n# Brings what is missing, says what it did.\n',
      'native/a/a.c': '// SPDX-License-Identifier: Apache-2.0\n// See a.h.\n#include "a.h"\n',
      'native/a/a.h': '/* SPDX-License-Identifier: Apache-2.0 */\n/* One thing and what it promises. */\n',
      'test/integration/a.test.ts': `${head}expectNoLeaks()\n`,
      'src/base/b.ts': `${head}// ${openEnd} #12: later\n`,
    }
    expect(rulesOf(good)).toEqual([])
  })

  test.each([
    ['no licence line', 'src/a.ts', '/** Owns one thing and promises another. */\n', 'src/a.ts:1: spdx'],
    [
      'no opening paragraph',
      'src/a.ts',
      `${head.split('\n')[0]}\nimport a from 'b'\n`,
      'src/a.ts:2: opening',
    ],
    [
      'an opening that says nothing',
      'src/a.ts',
      `${head.split('\n')[0]}\n/** a.ts */\n`,
      'src/a.ts:2: opening',
    ],
    [
      'C that points to no header',
      'native/a/a.c',
      `${head.split('\n')[0]}\n// See a.h.\n`,
      'native/a/a.c:2: opening',
    ],
    [
      'C without a comment',
      'native/a/a.c',
      `${head.split('\n')[0]}\n#include <x.h>\n`,
      'native/a/a.c:2: opening',
    ],
    ['a long file', 'src/a.ts', head + lines(maxFileLines), `src/a.ts:${maxFileLines + 1}: file-length`],
    [
      'a long function',
      'src/a.ts',
      `${head}export function f(a: { b: string }): Promise<void> {\n${lines(maxFunctionLines)}\n}\n`,
      'src/a.ts:3: function-length',
    ],
    [
      'a long arrow function',
      'src/a.ts',
      `${head}const f = () => {\n${lines(60)}\n}\n`,
      'src/a.ts:3: function-length',
    ],
    [
      'a long method',
      'src/a.ts',
      `${head}class A {\n  m(): void {\n${lines(60)}\n  }\n}\n`,
      'src/a.ts:4: function-length',
    ],
    [
      'a long test',
      'test/unit/a.test.ts',
      `${head}test('x', () => {\n${lines(60)}\n})\n`,
      'test/unit/a.test.ts:3: function-length',
    ],
    [
      'a huge factory',
      'src/a.ts',
      `${head}function make() {\n${`function g() {\n${lines(50)}\n}\n`.repeat(maxFactoryLines / 50)}\n}\n`,
      'src/a.ts:3: function-length',
    ],
    ['a banned name', 'src/base/utils.ts', head, 'src/base/utils.ts:1: banned-name'],
    ['a banned folder', 'src/common/a.ts', head, 'src/common/a.ts:1: banned-name'],
    [
      'an open end without a number',
      'src/a.ts',
      `${head}\n// ${openEnd}: later\n`,
      'src/a.ts:4: todo-number',
    ],
    [
      'a blocking file call',
      'src/host/files.ts',
      `${head}readFileSync('x')\n`,
      'src/host/files.ts:3: no-sync',
    ],
    [
      'a suite without the leak check',
      'test/crash/a.test.ts',
      `${head}// expectNoLeaks()\n`,
      'test/crash/a.test.ts:1: leak-check',
    ],
    [
      'a Host verb without @abort',
      'src/host/index.ts',
      hostPage.replace('@abort kills', ''),
      'src/host/index.ts:10: abort',
    ],
    [
      'a Host member without a comment',
      'src/host/index.ts',
      hostPage.replace(/ {2}\/\*\* Pins.*\n/, ''),
      'src/host/index.ts:4: abort',
    ],
    [
      'a word that is no abort behaviour',
      'src/host/index.ts',
      hostPage.replace('kills', 'maybe'),
      'src/host/index.ts:10: abort',
    ],
    [
      'a page without Host',
      'src/host/index.ts',
      `${head}export interface Other {}\n`,
      'src/host/index.ts:1: abort',
    ],
    [
      'a Host without members',
      'src/host/index.ts',
      `${head}export interface Host {\n}\n`,
      'src/host/index.ts:3: abort',
    ],
  ])('%s is found', (_, file, text, expected) => {
    expect(rulesOf({ [file]: text })).toEqual([expected])
  })

  test('braces in strings, templates, comments and regular expressions do not count', () => {
    const hole = '$' + '{'
    const tricky = `  const s = '{' + \`}}${hole}a ? '{' : \`{\`}\` // {{{\n  const r = /[{]\\/{2}/ /* { */\n`
    const text = `${head}function f() {\n${tricky}}\nfunction g() {\n${lines(40)}\n}\nfunction h() {\n${lines(40)}\n}\n`
    expect(rulesOf({ 'src/a.ts': text })).toEqual([])
  })

  test('a factory is not blamed for its methods, nor describe for its tests', () => {
    const method = `  f(): void {\n${lines(50)}\n  },\n`
    expect(
      rulesOf({ 'src/a.ts': `${head}export function make(): X {\n  return {\n${method}${method}  }\n}\n` }),
    ).toEqual([])
    expect(rulesOf({ 'test/unit/a.test.ts': `${head}describe('x', () => {\n${lines(90)}\n})\n` })).toEqual([])
  })
})

// SPDX-License-Identifier: Apache-2.0
/**
 * The papers point at what is there: relative links and their anchors, paths of the tree, npm scripts. The rest of
 * what they say cannot be checked by a program.
 */
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { readTree } from '../../../scripts/tree.ts'

const repo = fileURLToPath(new URL('../../..', import.meta.url)).replace(/\/$/, '')
const papers = readTree(repo, [''], (path) => /^(?:[A-Z]+\.md|docs\/.+\.md|native\/.+\.md)$/.test(path))
const scripts: Record<string, string> = JSON.parse(readFileSync(join(repo, 'package.json'), 'utf8')).scripts

const withoutFences = (text: string) => text.replace(/^```[\s\S]*?^```$/gm, '')

/** The anchor of a heading, as sites that show Markdown make it. */
function anchorOf(heading: string): string {
  return heading
    .trim()
    .toLowerCase()
    .replace(/`/g, '')
    .replace(/[^\p{L}\p{N} _-]/gu, '')
    .replace(/ /g, '-')
}

function anchorsOf(path: string): string[] {
  const text = withoutFences(readFileSync(path, 'utf8'))
  return [...text.matchAll(/^#+ (.+)$/gm)].map((m) => anchorOf(m[1] ?? ''))
}

/** Links of `text` that lead nowhere. */
function brokenLinks(file: string, text: string): string[] {
  const links = [...withoutFences(text).matchAll(/\]\(([^)\s]+)\)/g)].map((m) => m[1] ?? '')
  return links.filter((link) => {
    if (/^[a-z]+:/.test(link)) return false
    const [path = '', anchor] = link.split('#')
    const target = path === '' ? join(repo, file) : join(repo, dirname(file), path)
    if (relative(repo, target).startsWith('..') || !existsSync(target)) return true
    return anchor !== undefined && !anchorsOf(target).includes(anchor)
  })
}

/** `src/…`-like paths in backticks that are not there. A path with a placeholder in it is none. */
function missingPaths(text: string): string[] {
  const named = [
    ...text.matchAll(
      /`((?:src|native|test|scripts|docs|bench|conformance|contrib|proto|bin|\.ci)\/[^`\s]*)`/g,
    ),
  ]
  return named
    .map((m) => (m[1] ?? '').replace(/:\d+$/, ''))
    .filter((path) => !/[*<>{}…]|NNNN|^native\/build|^conformance\/bin|\/gen\/|\/out\//.test(path))
    .filter((path) => !existsSync(join(repo, path)))
}

const unknownScripts = (text: string) =>
  [...text.matchAll(/\bnpm run ([\w:-]+)/g)].map((m) => m[1] ?? '').filter((name) => !(name in scripts))

describe.each([...papers])('%s', (file, text) => {
  test('links to what is there', () => expect(brokenLinks(file, text)).toEqual([]))
  test('names paths that are there', () => expect(missingPaths(text)).toEqual([]))
  test('names npm scripts that are there', () => expect(unknownScripts(text)).toEqual([]))
})

describe('the papers', () => {
  test('are all there', () => {
    const wanted = ['README', 'ARCHITECTURE', 'CONTRIBUTING', 'SECURITY', 'CHANGELOG'].map((n) => `${n}.md`)
    expect([...papers.keys()]).toEqual(expect.arrayContaining([...wanted, 'docs/debug.md', 'docs/states.md']))
    expect(readFileSync(join(repo, 'LICENSE'), 'utf8')).toContain('Apache License')
  })

  test('a bad link, path or script would be found', () => {
    expect(brokenLinks('README.md', 'see [a](docs/nowhere.md) and [b](#no-such-heading)')).toHaveLength(2)
    expect(missingPaths('in `src/engine/nowhere.ts`, not `src/engine/<verb>.ts`')).toEqual([
      'src/engine/nowhere.ts',
    ])
    expect(unknownScripts('npm run nonsense and npm run build')).toEqual(['nonsense'])
  })
})

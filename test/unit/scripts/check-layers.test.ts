// SPDX-License-Identifier: Apache-2.0
/**
 * The layer check proves itself: one seeded violation per rule is found, in the right file and line, and a tree
 * that keeps every rule is clean. The trees live in memory.
 */
import { describe, expect, test } from 'vitest'
import { checkLayers, layers } from '../../../scripts/check-layers.ts'
import { missed } from '../../../scripts/tree.ts'

const clean: Record<string, string> = {
  'src/base/fault.ts': "import { isIP } from 'node:net'\nexport const a = isIP\n",
  'src/model/pod.ts': "import type { A } from '../base/fault.ts'\nexport type P = A\n",
  'src/config/load.ts':
    "import { readFileSync } from 'node:fs'\nimport { parse } from 'smol-toml'\nimport { p } from '../model/pod.ts'\n",
  'src/host/native.ts': "const path = '../../native/build/gantry.node'\nprocess.dlopen(module, path)\n",
  'src/host/exec.ts': "import { n } from './native.ts'\n",
  'src/host/cni/plugin.ts':
    "import { e } from '../exec.ts'\nimport { c } from './conf.ts'\nimport { p } from '../../model/pod.ts'\n",
  'src/host/cni/conf.ts': 'export const c = 1\n',
  'src/host/index.ts':
    "import type { N } from './cni/plugin.ts'\nexport interface Host { n: N }\nexport type { N }\n",
  'src/engine/pods/run.ts':
    "import type { Host } from '../../host/index.ts'\nimport { type X, type Y } from '../../host/cni/conf.ts'\n",
  'src/engine/index.ts': "export type { R } from './pods/run.ts'\n",
  'src/edge/cri/server.ts':
    "import grpc from '@grpc/grpc-js'\nimport { v1 } from './gen/api.js'\nimport type { E } from '../../engine/index.ts'\n",
  'src/compose.ts':
    "import { c } from './config/load.ts'\nimport { h } from './host/cni/plugin.ts'\nimport pino from 'pino'\n",
  'src/cli.ts': "import { spawn } from 'node:child_process'\n",
}

/** What the check says about the clean tree with some files replaced or added. */
function problemsWith(changed: Record<string, string>): string[] {
  const problems = checkLayers(new Map(Object.entries({ ...clean, ...changed })))
  return problems.map((p) => `${p.file}:${p.line}: ${p.rule}`)
}

describe('check-layers', () => {
  test('a tree that keeps the rules has no problem', () => {
    expect(problemsWith({})).toEqual([])
  })

  test.each([
    ['upward import', 'src/base/x.ts', "\nimport { p } from '../model/pod.ts'\n", 'src/base/x.ts:2: layer'],
    [
      'sideways import',
      'src/model/x.ts',
      "import { l } from '../config/load.ts'\n",
      'src/model/x.ts:1: layer',
    ],
    [
      'host → engine',
      'src/host/x.ts',
      "import { r } from '../engine/pods/run.ts'\n",
      'src/host/x.ts:1: layer',
    ],
    ['edge → host', 'src/edge/x.ts', "import type { H } from '../host/index.ts'\n", 'src/edge/x.ts:1: layer'],
    [
      'config read below the top',
      'src/edge/x.ts',
      "import type { C } from '../config/load.ts'\n",
      'src/edge/x.ts:1: layer',
    ],
    ['layer → top', 'src/engine/x.ts', "import { c } from '../compose.ts'\n", 'src/engine/x.ts:1: layer'],
    [
      'host value in engine',
      'src/engine/x.ts',
      "import { c } from '../host/cni/conf.ts'\n",
      'src/engine/x.ts:1: types-only',
    ],
    [
      'one value among types',
      'src/engine/x.ts',
      "import { type X, c } from '../host/cni/conf.ts'\n",
      'src/engine/x.ts:1: types-only',
    ],
    [
      'side-effect import',
      'src/engine/x.ts',
      "import '../host/cni/conf.ts'\n",
      'src/engine/x.ts:1: types-only',
    ],
    [
      'dynamic import',
      'src/engine/x.ts',
      "const c = await import('../host/cni/conf.ts')\n",
      'src/engine/x.ts:1: types-only',
    ],
    [
      'import over lines',
      'src/edge/x.ts',
      "import {\n  a,\n  b,\n} from '../host/exec.ts'\n",
      'src/edge/x.ts:1: layer',
    ],
    [
      'part of host to another',
      'src/host/blobs.ts',
      "import { c } from './cni/conf.ts'\n",
      'src/host/blobs.ts:1: host-part',
    ],
    [
      'unknown folder',
      'src/extra/x.ts',
      "import { f } from '../base/fault.ts'\n",
      'src/extra/x.ts:1: known-folder',
    ],
    [
      'a file that is not there',
      'src/base/x.ts',
      "import { f } from './gone.ts'\n",
      'src/base/x.ts:1: resolves',
    ],
    [
      'outside src',
      'src/base/x.ts',
      "import { f } from '../../test/support/x.ts'\n",
      'src/base/x.ts:1: inside-src',
    ],
    [
      'built-in in model',
      'src/model/x.ts',
      "import { join } from 'node:path'\n",
      'src/model/x.ts:1: builtin',
    ],
    [
      'fs in engine',
      'src/engine/x.ts',
      "import { open } from 'node:fs/promises'\n",
      'src/engine/x.ts:1: builtin',
    ],
    [
      'built-in without node:',
      'src/base/x.ts',
      "import { join } from 'path'\n",
      'src/base/x.ts:1: node-prefix',
    ],
    [
      'child_process in host',
      'src/host/x.ts',
      "import { spawn } from 'node:child_process'\n",
      'src/host/x.ts:1: child-process',
    ],
    [
      'child_process in main',
      'src/main.ts',
      "import { spawn } from 'node:child_process'\n",
      'src/main.ts:1: child-process',
    ],
    ['grpc in engine', 'src/engine/x.ts', "import grpc from '@grpc/grpc-js'\n", 'src/engine/x.ts:1: package'],
    ['a package in base', 'src/base/x.ts', "import pino from 'pino'\n", 'src/base/x.ts:1: package'],
    [
      'the addon elsewhere',
      'src/host/x.ts',
      "\n\nconst f = '../native/build/gantry.node'\n",
      'src/host/x.ts:3: addon',
    ],
    ['dlopen elsewhere', 'src/base/x.ts', 'process.dlopen(m, f)\n', 'src/base/x.ts:1: addon'],
    ['a barrel', 'src/base/index.ts', "export * from './fault.ts'\n", 'src/base/index.ts:1: no-barrel'],
    [
      'a value re-exported by an index',
      'src/host/index.ts',
      "export { c } from './cni/conf.ts'\n",
      'src/host/index.ts:1: no-barrel',
    ],
    [
      'a value on an index page',
      'src/engine/index.ts',
      'export const x = 1\n',
      'src/engine/index.ts:1: interfaces-only',
    ],
    ['a clock in model', 'src/model/x.ts', '\nconst now = Date.now()\n', 'src/model/x.ts:2: model-pure'],
    ['chance in model', 'src/model/x.ts', 'const r = Math.random()\n', 'src/model/x.ts:1: model-pure'],
    ['waiting in model', 'src/model/x.ts', 'export async function f() {}\n', 'src/model/x.ts:1: model-pure'],
    ['a cycle', 'src/base/fault.ts', "import type { B } from './b.ts'\n", 'src/base/b.ts:1: no-cycle'],
  ])('%s is found', (_, file, text, expected) => {
    const other = { 'src/base/b.ts': "import type { A } from './fault.ts'\n" }
    const found = problemsWith({ ...(expected.endsWith('no-cycle') ? other : {}), [file]: text })
    const same = found.map((p) => p.replace('src/base/fault.ts:1: no-cycle', 'src/base/b.ts:1: no-cycle'))
    expect(same).toContain(expected)
  })

  test('what only looks like an import is none', () => {
    const text = [
      "// import { x } from '../engine/pods/run.ts'",
      "/* import '../edge/cri/server.ts' */",
      'const s = `import { x } from "../edge/cri/server.ts"`',
      "const t = 'the .nodes of a tree'",
    ].join('\n')
    expect(problemsWith({ 'src/host/x.ts': text })).toEqual([])
  })

  test('every layer of the table exists in the clean tree, so that each rule was tried', () => {
    for (const layer of Object.keys(layers))
      expect(Object.keys(clean).some((f) => f.startsWith(`src/${layer}/`))).toBe(true)
  })

  test('a file that git lists and the walk did not see is named', () => {
    const wanted = (p: string): boolean => p.endsWith('.ts')
    expect(missed(new Map([['src/a.ts', '']]), ['src/a.ts', 'src/b.ts', 'x.md'], wanted)).toEqual([
      'src/b.ts',
    ])
  })
})

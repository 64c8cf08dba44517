// SPDX-License-Identifier: Apache-2.0
/**
 * suite: a node for the tests of one file, started before them and ended, with its leak check, after them. Each
 * test is skipped, with the reason, where the kubelet cannot be built.
 */
import { afterAll, beforeAll, it } from 'vitest'
import type { ScenarioOptions } from '../../test/support/scenario.ts'
import { buildTools } from '../crictl/crictl.ts'
import { kubeletVersion } from './kubelet.ts'
import { type Node, startNode } from './node.ts'

/** The first build of the kubelet takes ten minutes on two cores. */
const buildMs = 1_500_000

type Test = (name: string, run: (skip: (why: string) => never) => Promise<void>) => void

/** Declares the hooks of a file and gives what declares its tests. `prepare` gets the node before the first one. */
export function kubeletSuite(options: ScenarioOptions, prepare: (n: Node) => Promise<void>): Test {
  let node: Node | undefined
  let cannot: string | undefined
  beforeAll(async () => {
    cannot = await buildTools(`kubelet-${kubeletVersion}`, 'streamclient')
    if (cannot !== undefined) return
    node = await startNode(options)
    await prepare(node)
  }, buildMs)
  afterAll(() => node?.end(), 120_000)
  return (name, run) =>
    it(name, async ({ skip }) => {
      if (cannot !== undefined) skip(cannot)
      await run(skip)
    })
}

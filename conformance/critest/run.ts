// SPDX-License-Identifier: Apache-2.0
/**
 * run: critest against the daemon, with the test images in a registry on loopback and everything else in a
 * workspace of its own: `node conformance/critest/run.ts [HANDLER] [critest flags…]`, as root, after a build.
 * What is skipped stands in skips.json with its reason. The exit code is critest's; 3 where Go is missing. It
 * ends with the leak check, and a leak is a failure too.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ensureTestImages } from '../../test/images/build.ts'
import { startDaemon } from '../../test/support/daemon.ts'
import { expectNoLeaks, snapshot } from '../../test/support/leak-check.ts'
import { hostsOf, startRegistry, writeHostsToml } from '../../test/support/registry.ts'
import { makeWorkspace, type Workspace } from '../../test/support/workspace.ts'
import { buildTools } from '../crictl/crictl.ts'
import { writeLocalCritest } from './digest.ts'

interface Skip {
  /** Regular expression over the name of a spec. */
  readonly match: string
  readonly reason: string
}

async function skips(): Promise<readonly Skip[]> {
  const list: Skip[] = JSON.parse(await readFile(join(import.meta.dirname, 'skips.json'), 'utf8'))
  for (const { match, reason } of list) {
    if (!match || !reason) throw new Error('skips.json: every skip needs "match" and "reason"')
    process.stdout.write(`skipped: ${match}: ${reason}\n`)
  }
  return list
}

async function critest(w: Workspace, handler: string, flags: readonly string[]): Promise<number> {
  const args = [
    `-runtime-endpoint=unix://${w.socket}`,
    `-runtime-handler=${handler}`,
    '-ginkgo.no-color',
    '-ginkgo.succinct',
    '-ginkgo.timeout=15m',
    ...(await skips()).map((s) => `-ginkgo.skip=${s.match}`),
    ...flags,
  ]
  const child = spawn(await writeLocalCritest(), args, { stdio: 'inherit', cwd: w.root })
  const [code]: unknown[] = await once(child, 'exit')
  return typeof code === 'number' ? code : 1
}

/** Runs it with the daemon on a workspace. Resolves with critest's exit code; rejects when something was left. */
async function onWorkspace(handler: string, flags: readonly string[]): Promise<number> {
  const layout = await ensureTestImages()
  const registry = await startRegistry()
  const workspace = await makeWorkspace()
  try {
    await registry.pushLayout(layout)
    await writeHostsToml(workspace.certs, hostsOf(layout.names), registry.url)
    // critest's own folders under /tmp, and the cgroup it names for pods, are not the daemon's.
    const before = await snapshot(workspace.leakScope())
    const daemon = await startDaemon(workspace)
    try {
      return await critest(workspace, handler, flags)
    } finally {
      await daemon.stop()
      await expectNoLeaks(before)
    }
  } finally {
    await workspace.remove()
    await registry.stop()
  }
}

async function main(args: readonly string[]): Promise<number> {
  const cannot = await buildTools('critest')
  if (cannot !== undefined) {
    process.stderr.write(`${cannot}\n`)
    return 3
  }
  const [first = ''] = args
  const handler = first.startsWith('-') ? '' : first
  return onWorkspace(handler, handler === '' ? args.filter((a) => a !== '') : args.slice(1))
}

process.exitCode = await main(process.argv.slice(2))

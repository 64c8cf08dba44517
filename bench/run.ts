// SPDX-License-Identifier: Apache-2.0
/**
 * The bench's program: finds or starts the runtimes, gives each its image, runs the suites in turn, prints, and
 * leaves nothing behind: pods, images, cgroups, folders and everything that it started are gone at the end, also
 * after an error or Ctrl-C. `--help` has the options; docs/performance.md says what the figures mean.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { judge, passes } from './budgets.ts'
import { Cleanup } from './cleanup.ts'
import { RpcError } from './client.ts'
import { removeNetwork, writeNetwork } from './cni.ts'
import { imageSet } from './image-set.ts'
import { serveImages } from './images.ts'
import { mountsBelow } from './mounts.ts'
import { HELP, type Options, parseOptions, SUITES, say, UsageError } from './options.ts'
import { type PullSet, serveSet } from './pulls.ts'
import { budgetLines, document, heading, table } from './report.ts'
import { daemonMemory, LAST_SUITES, ROUND_SUITES, type Target } from './suites.ts'
import { candidates, connectTo, type Ground } from './targets.ts'

async function measure(
  ground: Ground,
  targets: readonly Target[],
  pulls: readonly PullSet[] | undefined,
): Promise<void> {
  const { options, signal } = ground
  const wanted = (suites: typeof ROUND_SUITES) =>
    SUITES.flatMap((name) => (options.only.has(name) && suites[name] ? [[name, suites[name]] as const] : []))
  for (let round = 0; round < options.rounds; round++) {
    for (const [name, suite] of wanted(ROUND_SUITES)) {
      for (const target of targets) {
        say(`${name}, round ${round + 1}, ${target.label} ${target.name}`)
        await suite({ target, round, options, signal, pulls })
      }
    }
  }
  const settling: Promise<void>[] = []
  for (const [name, suite] of wanted(LAST_SUITES)) {
    for (const target of targets) {
      say(`${name}, ${target.label} ${target.name}`)
      await suite({ target, round: 0, options, signal })
      if (options.settleSeconds > 0) {
        const later = sleep(options.settleSeconds * 1000, undefined, { signal }).then(() =>
          daemonMemory({ target, round: 0, options, signal }, 'settled'),
        )
        later.catch(() => {}) // awaited below; an error before that must not end the process
        settling.push(later)
      }
    }
  }
  if (settling.length > 0) say(`waiting ${options.settleSeconds} s for the daemons to settle`)
  await Promise.all(settling)
}

async function bench(options: Options, cleanup: Cleanup, signal: AbortSignal): Promise<number> {
  const began = performance.now()
  const folder = await mkdtemp(join(tmpdir(), 'gt-bench-'))
  cleanup.later('remove the scratch folder', async () => {
    const mounts = await mountsBelow(folder)
    if (mounts.length > 0) throw new Error(`still mounted: ${mounts.join(', ')}`)
    if (options.keepLogs) say(`logs are kept in ${folder}`)
    else await rm(folder, { recursive: true, force: true })
  })
  const images = await serveImages()
  cleanup.later('stop the registry', () => images.close())
  const cniConf = await writeNetwork(folder)
  if (options.only.has('cni')) cleanup.later('remove the bridge', removeNetwork)
  const ground: Ground = { options, folder, cniConf, images, cleanup, signal }
  const found = await candidates(ground)
  const targets: Target[] = []
  for (const [index, candidate] of found.entries()) targets.push(await connectTo(ground, candidate, index))
  const pulls: PullSet[] = []
  for (let round = 0; round < (options.only.has('images') ? options.rounds : 0); round++) {
    say(`images of round ${round + 1}`)
    pulls.push(serveSet(await imageSet(round), { add: images.add, folder }))
  }
  await measure(ground, targets, pulls)

  const subjects = targets.map(({ label, name, version, client, samples }) => ({
    label,
    name,
    version,
    socket: client.socket,
    samples,
  }))
  const [a, b] = targets
  const verdicts = a ? judge(a.samples, b?.samples, options.pods) : []
  const notes = targets.flatMap(({ label, samples }) => samples.notes.map((note) => `${label}: ${note}`))
  const seconds = (performance.now() - began) / 1000
  process.stdout.write(`${[heading(subjects, seconds), '', table(subjects), '', ...notes].join('\n')}\n`)
  if (options.json !== undefined) await writeFile(options.json, document(subjects, options, verdicts))
  if (!options.budget) return 0
  process.stdout.write(`\n${budgetLines(verdicts)}\n`)
  return passes(verdicts) ? 0 : 1
}

async function main(): Promise<number> {
  const options = parseOptions(process.argv.slice(2))
  if (options === 'help') {
    process.stdout.write(HELP)
    return 0
  }
  if (process.getuid?.() !== 0)
    throw new Error('bench: needs root: sockets, cgroups and /proc of other processes')
  const abort = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM'] as const)
    process.on(name, () => abort.abort(new Error(`bench: ${name}`)))
  const cleanup = new Cleanup()
  try {
    return await bench(options, cleanup, abort.signal)
  } catch (error) {
    if (!abort.signal.aborted) throw error
    say('interrupted; cleaning up')
    return 130
  } finally {
    await cleanup.run()
    for (const problem of cleanup.problems) say(`left behind: ${problem}`)
    if (cleanup.problems.length > 0) process.exitCode = 1
  }
}

function explain(error: unknown): string {
  const lines: string[] = []
  for (let one = error; one instanceof Error; one = one instanceof RpcError ? undefined : one.cause) {
    lines.push(one.message) // an RpcError already says what its cause says
  }
  return lines.join('\n  because: ') || String(error)
}

try {
  const code = await main()
  process.exitCode = code || process.exitCode || 0
} catch (error) {
  process.stderr.write(`${explain(error)}\n`)
  if (error instanceof UsageError) process.stderr.write('npm run bench -- --help lists the options.\n')
  process.exitCode = error instanceof UsageError ? 2 : 1
}

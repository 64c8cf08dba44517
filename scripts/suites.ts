// SPDX-License-Identifier: Apache-2.0
/**
 * suites: the vitest suites as data, in the order in which they run, with their time limits and with what a
 * machine must be able to do. Running them is the work of test.ts and run-suite.ts.
 */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

export interface Suite {
  /** The folder under test/. */
  readonly name: string
  /** Whether test files may run side by side; suites that touch the host may not. */
  readonly parallel: boolean
  /** Longest time for one test or hook, unless it says otherwise itself. */
  readonly testMs: number
  /** Longest time for the whole suite; then it is killed and counts as failed. */
  readonly suiteMs: number
  /** Runs the suite in place of run-suite.ts, with the same arguments; relative to the checkout. */
  readonly runner?: string
  /** More arguments for the runner. Of run-suite.ts: files or folders, in place of test/NAME/. */
  readonly args?: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  /** Why this machine cannot run the suite, or undefined. Must not blame what the set-up installs. */
  readonly cannot?: () => string | undefined
}

/** Suites that make mounts and namespaces need a kernel that lets root do so. */
function noMounts(): string | undefined {
  if (process.getuid?.() !== 0) return 'needs root'
  const tried = spawnSync('unshare', ['--mount', '--net', '--', 'mount', '-t', 'tmpfs', 'none', '/mnt'], {
    stdio: 'ignore',
    timeout: 10_000,
  })
  return tried.status === 0 ? undefined : 'this kernel does not let root make mounts and namespaces'
}

/**
 * The second kernel is a program for x86_64, which traces the processes it runs. Where CI has it installed, only
 * the processor is an excuse: a guest that does not come up fails the suite.
 */
export function noGuest(): string | undefined {
  if (process.arch !== 'x64') return `User-Mode Linux exists for x86_64 only, this is ${process.arch}`
  if (process.env.CI === 'true') return undefined
  const run = fileURLToPath(new URL('../test/vm/run.sh', import.meta.url))
  const tried = spawnSync(run, ['--timeout', '60', '--', 'true'], { encoding: 'utf8' })
  if (tried.status === 0) return undefined
  return `no guest comes up here: ${tried.stderr.trim().split('\n').at(-1) || `exit code ${tried.status}`}`
}

/** The programs of conformance/ are built by Go, which fetches what it needs to the versions that are pinned. */
function noGo(): string | undefined {
  const { status } = spawnSync('go', ['version'], { stdio: 'ignore' })
  return status === 0 ? noMounts() : 'critest, crictl and the kubelet cannot be built: Go is not installed'
}

const critest = {
  runner: 'conformance/critest/run.ts',
  parallel: false,
  testMs: 120_000,
  suiteMs: 900_000,
  cannot: noGo,
} as const

export const suites: readonly Suite[] = [
  { name: 'unit', parallel: true, testMs: 20_000, suiteMs: 240_000 },
  { name: 'property', parallel: true, testMs: 60_000, suiteMs: 180_000 },
  { name: 'faults', parallel: true, testMs: 30_000, suiteMs: 240_000 },
  { name: 'native', parallel: false, testMs: 120_000, suiteMs: 600_000 },
  { name: 'integration', parallel: false, testMs: 60_000, suiteMs: 1_500_000, cannot: noMounts },
  { name: 'critest', ...critest },
  { name: 'crash', parallel: false, testMs: 120_000, suiteMs: 900_000, cannot: noMounts },
  ...['vm', 'systemd'].map((name) => ({
    name,
    runner: 'test/vm/suite.ts',
    parallel: false,
    testMs: 120_000,
    suiteMs: 900_000,
    cannot: noGuest,
  })),
]

const byVitest = { parallel: false, testMs: 120_000, cannot: noGo } as const

/** What `npm run conformance` runs: each as long as the first build of the kubelet takes, at most. */
export const conformanceSuites: readonly Suite[] = [
  { name: 'critest', ...critest },
  { name: 'critest-parallel', ...critest, args: ['-parallel=4'] },
  { name: 'critest-benchmark', ...critest, args: ['-benchmark'] },
  {
    name: 'crictl',
    ...byVitest,
    suiteMs: 900_000,
    args: ['test/integration/crictl.test.ts', 'test/integration/streaming-crictl.test.ts'],
  },
  ...['v1.36', 'v1.37'].map((version) => ({
    name: `kubelet-${version}`,
    ...byVitest,
    suiteMs: 2_400_000,
    args: ['conformance/kubelet/'],
    env: { KUBELET_VERSION: version },
  })),
]

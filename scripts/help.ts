// SPDX-License-Identifier: Apache-2.0
/** help: `npm run help` prints every npm script with a sentence. A unit test compares it with package.json. */
import { fileURLToPath } from 'node:url'

/** npm script → what it does. `(root)` marks those that need it. */
export const scripts: Readonly<Record<string, string>> = {
  start: '(root) set up this machine, build, start the daemon with a default network, check it with one pod',
  test: '(root) set up this machine, build, run every suite; the last line is the tally',
  help: 'print this',
  gen: 'write the generated CRI code from proto/',
  build: 'bring the generated code, dist/ and the C programs up to date',
  check: 'format, lint, types, layers, tidy, documents, unused code',
  docs: 'write the pages of docs/ that follow from the source',
  lock: 'complete package-lock.json after a change of dependencies',
  'test:quick': 'check, unit, property and fault suites: no root, half a minute',
  'test:native': '(root) C unit tests, sanitizers, the addon and the monitor',
  'test:it': '(root) integration suites against real OCI runtimes and CNI plugins',
  'test:crash': '(root) kill the daemon at every act and under load, then compare with the books',
  'test:vm':
    '(root) integration and critest on cgroup v2 with both drivers, in a Debian under QEMU: hours; needs Go',
  conformance: '(root) critest, crictl scenarios and a real kubelet; writes conformance/REPORT.md; needs Go',
  bench: '(root) latency, throughput and memory; --against SOCKET compares with another runtime',
}

if (process.argv[1] === fileURLToPath(import.meta.url))
  for (const [name, what] of Object.entries(scripts)) {
    const call = name === 'start' || name === 'test' ? `npm ${name}` : `npm run ${name}`
    console.log(`${call.padEnd(22)} ${what}`)
  }

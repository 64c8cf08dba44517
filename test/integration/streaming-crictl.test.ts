// SPDX-License-Identifier: Apache-2.0
/**
 * crictl exec, attach and port-forward as a person uses them: on a terminal (of script(1)), through pipes, over
 * SPDY and over WebSocket. Skipped, with the reason, where Go is missing and crictl cannot be built.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { buildTools, crictlProgram, makeCrictl } from '../../conformance/crictl/crictl.ts'
import { waitUntil } from '../support/child.ts'
import { type RunningPod, waitForExit } from '../support/cri-requests.ts'
import { expectNoLeaks } from '../support/leak-check.ts'
import { type Scenario, startScenario } from '../support/scenario.ts'
import { busybox, type Kept, kept } from '../support/scenario-run.ts'

const cannotBuild = await buildTools('crictl')
const within = { withinMs: 15_000 }

let s: Scenario
let pod: RunningPod
let c: Kept

beforeAll(async () => {
  if (cannotBuild !== undefined) return
  s = await startScenario()
  pod = await s.pod('crictl')
  c = await kept(s, pod)
  const { dir } = await makeCrictl(s.workspace.socket, join(s.workspace.root, 'crictl'))
  connection = ['--config', join(dir, 'crictl.yaml')]
}, 300_000)
afterAll(() => s?.end((before) => expectNoLeaks(before, { withinMs: 5000 })))

interface Running {
  readonly child: ChildProcess
  out(): string
  readonly code: Promise<number>
}

function started(program: string, args: readonly string[]): Running {
  const env = { PATH: process.env.PATH, HOME: s.workspace.root }
  const child = spawn(program, args, { env, stdio: ['pipe', 'pipe', 'pipe'] })
  let all = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (d: Buffer) => (all += d.toString()))
  child.stdin.on('error', () => {})
  return { child, out: () => all, code: once(child, 'close').then(([code]) => Number(code)) }
}

let connection: readonly string[] = []
const crictl = (...args: readonly string[]) => started(crictlProgram, [...connection, ...args])
/** The same on a terminal; the script gets its name in $T, so that its size can be changed from outside. */
const onTerminal = (file: string, ...args: readonly string[]) => {
  const command = [crictlProgram, ...connection, ...args].map((a) => `'${a}'`).join(' ')
  const lines = `stty cols 91 rows 17; tty >${file}; exec ${command}`
  return started('script', ['-qefc', lines, '/dev/null'])
}
const type = (to: Running, text: string) => to.child.stdin?.write(text)

for (const transport of ['spdy', 'websocket'])
  describe(`crictl over ${transport}`, () => {
    const over = ['--transport', transport]
    const needed = (skip: (why: string) => void) => {
      if (cannotBuild !== undefined) skip(cannotBuild)
    }

    for (const code of [0, 1, 137])
      it(`exec tells exit code ${code}`, async ({ skip }) => {
        needed(skip)
        const script = code === 137 ? 'kill -9 $$' : `echo out; exit ${code}`
        const run = crictl('exec', ...over, c.id, 'sh', '-c', script)
        expect(await run.code).toBe(code === 0 ? 0 : 1)
        if (code > 0) expect(run.out()).toContain(`exit code ${code}`)
      })

    it('exec -i passes a pipe to its end, and what comes back after it', async ({ skip }) => {
      needed(skip)
      const run = crictl('exec', '-i', ...over, c.id, 'sh', '-c', 'wc -c; echo after')
      run.child.stdin?.end(Buffer.alloc(1_000_000, 'x'))
      expect([await run.code, run.out()]).toEqual([0, '1000000\nafter\n'])
    })

    it('exec -it is a terminal of the right size, also when that changes', async ({ skip }) => {
      needed(skip)
      const file = join(s.workspace.root, `tty-${transport}`)
      const run = onTerminal(file, 'exec', '-it', ...over, c.id, 'sh')
      type(run, 'stty size\n')
      await waitUntil('its size', () => run.out().includes('17 91'), within)
      const tty = (await readFile(file, 'utf8')).trim()
      await promisify(execFile)('stty', ['-F', tty, 'cols', '133', 'rows', '44'])
      await waitUntil(
        'the new size',
        () => {
          type(run, 'stty size\n')
          return run.out().includes('44 133')
        },
        { ...within, everyMs: 200 },
      )
      type(run, 'exit 0\n')
      expect(await run.code).toBe(0)
    }, 40_000)

    it('attach -i talks to the container; the end of stdin ends it', async ({ skip }) => {
      needed(skip)
      const id = await pod.start(busybox({ command: ['sh'], stdin: true, stdinOnce: true }))
      const run = crictl('attach', '-i', ...over, id)
      type(run, 'echo "six times seven is $((6 * 7))"\n')
      await waitUntil('the answer', () => run.out().includes('is 42'), within)
      run.child.stdin?.end('exit 5\n')
      expect(await run.code).toBe(0)
      expect(await waitForExit(s.client, id)).toMatchObject({ exitCode: 5 })
    }, 40_000)

    it('attach -it is the container’s terminal', async ({ skip }) => {
      needed(skip)
      const id = await pod.start(busybox({ command: ['sh'], stdin: true, tty: true }))
      const run = onTerminal(join(s.workspace.root, `attach-${transport}`), 'attach', '-it', ...over, id)
      type(run, 'stty size\n')
      await waitUntil(
        'its size',
        () => {
          type(run, 'stty size\n')
          return run.out().includes('17 91')
        },
        { ...within, everyMs: 200 },
      )
      type(run, 'exit 0\n')
      expect(await run.code).toBe(0)
    }, 40_000)

    it('port-forward brings a connection to the pod and back', async ({ skip }) => {
      needed(skip)
      const server = createServer((socket) => socket.on('error', () => {}).end('from the pod')).listen(
        0,
        '127.0.0.1',
      )
      await once(server, 'listening')
      const address = server.address()
      const port = typeof address === 'object' && address !== null ? address.port : 0
      const run = crictl('port-forward', ...over, pod.podId, `:${port}`)
      try {
        await waitUntil('it listens', () => /Forwarding from 127\.0\.0\.1:\d+/.test(run.out()), within)
        const local = /Forwarding from 127\.0\.0\.1:(\d+)/.exec(run.out())?.[1]
        let got = ''
        for await (const piece of connect({ host: '127.0.0.1', port: Number(local) })) got += piece
        expect(got).toBe('from the pod')
      } finally {
        run.child.kill('SIGINT')
        await run.code
        server.close()
      }
    }, 40_000)
  })

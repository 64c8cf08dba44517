// SPDX-License-Identifier: Apache-2.0
/**
 * The libraries that kubectl and the kubelet use, as clients: exec and port-forward over SPDY and WebSocket, a
 * hundred MiB both ways by hash, exit codes, fifty sessions at once, and clients that give up.
 */
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it, type TestContext } from 'vitest'
import { buildTools } from '../../conformance/crictl/crictl.ts'
import { waitUntil } from '../support/child.ts'
import type { RunningPod } from '../support/cri-requests.ts'
import { processes } from '../support/host-view.ts'
import { expectNoLeaks } from '../support/leak-check.ts'
import { type Scenario, startScenario } from '../support/scenario.ts'
import { busybox, type Kept, kept } from '../support/scenario-run.ts'

const program = fileURLToPath(new URL('../../conformance/bin/streamclient', import.meta.url))
const MiB = 1024 * 1024
/** What goes through one exec, each way. */
const large = Number(process.env.GANTRY_TEST_STREAM_MIB ?? 100) * MiB

interface Outcome {
  readonly sentSHA256: string
  readonly receivedSHA256: readonly string[]
  readonly receivedBytes: number
  readonly stderr?: string
  readonly exitCode: number
  readonly error?: string
}

let s: Scenario
let pod: RunningPod
let c: Kept
let missing: string | undefined

beforeAll(async () => {
  missing = await buildTools('streamclient')
  if (missing) return
  s = await startScenario()
  pod = await s.pod('clients', { bridged: true })
  c = await kept(s, pod, {})
  // Gives back what it gets, a process a connection.
  await pod.start(busybox({ container: 'echo', command: ['nc', '-ll', '-p', '8081', '-e', 'cat'] }))
}, 300_000)
afterAll(() => s?.end((before) => expectNoLeaks(before, { withinMs: 5000 })))

function needsGo(ctx: TestContext): void {
  if (missing) ctx.skip(missing)
}

/** What came out of each session; `log` is what the library itself says of errors. */
async function client(args: readonly string[]): Promise<readonly (Outcome & { log: string })[]> {
  const { stdout, stderr } = await promisify(execFile)(program, args, {
    maxBuffer: 1 << 26,
    timeout: 100_000,
  })
  return stdout
    .trim()
    .split('\n')
    .map((line) => ({ ...(JSON.parse(line) as Outcome), log: stderr }))
}

async function execUrl(cmd: string[], stdin = false): Promise<string> {
  const request = { containerId: c.id, cmd, stdin, stdout: true, stderr: true, tty: false }
  return (await s.client.call('Exec', request)).url
}

async function rssBytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) * 1024
}

const runs = async (word: string) =>
  (await processes()).filter((p) => p.argv.includes(word) && !p.zombie).length

describe.each(['spdy', 'websocket'])('over %s', (transport) => {
  const exec = (urls: readonly string[], ...options: string[]) =>
    client(['exec', '-transport', transport, ...options, ...urls])

  it('a hundred MiB go through an exec and come back to the byte', async (ctx) => {
    needsGo(ctx)
    const before = await rssBytes(s.daemon.pid)
    let peak = before
    const sampling = setInterval(async () => {
      peak = Math.max(peak, await rssBytes(s.daemon.pid))
    }, 50)
    const [one] = await exec([await execUrl(['cat'], true)], '-stdin', `${large}`)
    clearInterval(sampling)
    // The bytes never come near the daemon.
    expect(peak - before).toBeLessThan(16 * MiB)
    expect(one).toMatchObject({ exitCode: 0, receivedBytes: large })
    expect(one?.receivedSHA256).toEqual([one?.sentSHA256])
    expect(one?.error).toBeUndefined()
  }, 120_000)

  it.each([
    [0, 'exit 0'],
    [1, 'exit 1'],
    [137, 'kill -9 $$'],
  ])('the exit code %i arrives', async (code, script) => {
    const [one] = await exec([await execUrl(['sh', '-c', `echo said >&2; ${script}`])])
    expect(one).toMatchObject({ exitCode: code, stderr: 'said\n' })
    expect(one?.error).toBeUndefined()
  })

  it('fifty sessions at once are told apart', async (ctx) => {
    needsGo(ctx)
    const urls: string[] = []
    for (let i = 0; i < 50; i++) urls.push(await execUrl(['sh', '-c', `cat; exit ${i}`], true))
    const all = await exec(urls, '-stdin', '20000')
    expect(all.map((one) => one.exitCode)).toEqual(urls.map((_, i) => i))
    for (const one of all) expect(one.receivedSHA256).toEqual([one.sentSHA256])
    expect(new Set(all.map((one) => one.sentSHA256)).size).toBe(50)
  }, 120_000)

  it('a client that is killed takes its process with it, although that never read its input', async (ctx) => {
    needsGo(ctx)
    const word = transport === 'spdy' ? '86401' : '86402'
    const url = await execUrl(['sleep', word], true)
    const args = ['exec', '-transport', transport, '-stdin', `${50 * MiB}`, url]
    const going = promisify(execFile)(program, args, { timeout: 2000, killSignal: 'SIGKILL' })
    await waitUntil('it runs', async () => (await runs(word)) > 0, { withinMs: 10_000 })
    await expect(going).rejects.toMatchObject({ killed: true })
    await waitUntil('it is gone', async () => (await runs(word)) === 0, { withinMs: 20_000 })
  }, 60_000)

  const forward = async (podId: string, ...options: string[]) => {
    const { url } = await s.client.call('PortForward', { podSandboxId: podId, port: [] })
    return (await client(['forward', '-transport', transport, ...options, url]))[0]
  }

  it('forty connections of a port-forward are byte-exact', async (ctx) => {
    needsGo(ctx)
    const server = createServer({ allowHalfOpen: true }, (socket) => socket.pipe(socket)).listen(
      0,
      '127.0.0.1',
    )
    await once(server, 'listening')
    const address = server.address()
    const port = typeof address === 'object' && address !== null ? address.port : 0
    const onNode = await s.pod(`forty-${transport}`)
    const one = await forward(onNode.podId, '-port', `${port}`, '-connections', '40', '-bytes', `${MiB}`)
    server.close()
    expect(one?.error ?? one?.stderr).toBeUndefined()
    expect(new Set(one?.receivedSHA256)).toEqual(new Set([one?.sentSHA256]))
    expect(one?.receivedBytes).toBe(40 * MiB)
  }, 120_000)

  it('a port inside the pod answers, and one that nobody listens on says so', async (ctx) => {
    needsGo(ctx)
    await waitUntil('it listens', async () => (await c.sh('netstat -lnt')).includes(':8081'), {
      withinMs: 10_000,
    })
    const one = await forward(pod.podId, '-port', '8081', '-bytes', `${MiB}`)
    expect(one?.receivedSHA256).toEqual([one?.sentSHA256])
    const refused = await forward(pod.podId, '-port', '9')
    expect(refused?.log).toContain('failed to connect to localhost:9')
  }, 60_000)
})

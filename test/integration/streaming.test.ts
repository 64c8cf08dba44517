// SPDX-License-Identifier: Apache-2.0
/**
 * Exec, attach and port-forward through the daemon, its stream worker and real monitors, seen by a SPDY client:
 * what comes through, how sessions end, and what is left when a client, the worker or the daemon goes away.
 */
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { waitUntil } from '../support/child.ts'
import { namespaceMode, type RunningPod, waitForExit } from '../support/cri-requests.ts'
import { processes } from '../support/host-view.ts'
import { expectNoLeaks } from '../support/leak-check.ts'
import { type Scenario, startScenario } from '../support/scenario.ts'
import { refusalOf } from '../support/scenario-refusal.ts'
import { busybox, type Kept, kept } from '../support/scenario-run.ts'
import { attachSession, execSession, forwardSession, type Wanted } from '../support/stream-client.ts'

let s: Scenario
let pod: RunningPod
let c: Kept

beforeAll(async () => {
  s = await startScenario()
  pod = await s.pod('stream', { pid: namespaceMode.pod, bridged: true })
  c = await kept(s, pod, {
    workingDir: '/tmp',
    envs: [{ key: 'WHO', value: Buffer.from('container') }],
    linux: {
      securityContext: { namespaceOptions: { pid: namespaceMode.pod }, runAsUser: { value: 33n } },
    },
  })
})
afterAll(() => s?.end((before) => expectNoLeaks(before, { withinMs: 5000 })))

const exec = (cmd: string[], wanted: Wanted = {}) => execSession(s.client, c.id, { cmd, ...wanted })
const sh = (script: string, wanted: Wanted = {}) => exec(['sh', '-c', script], wanted)
const withWord = async (word: string) => (await processes()).filter((p) => p.argv.includes(word) && !p.zombie)
const gone = (word: string) =>
  waitUntil(`${word} is gone`, async () => (await withWord(word)).length === 0, { withinMs: 10_000 })
const runs = (word: string) =>
  waitUntil(`${word} runs`, async () => (await withWord(word)).length > 0, { withinMs: 10_000 })
/** The stream workers of this suite: each is in its daemon's run folder. */
const workers = async () =>
  (await processes()).filter((p) => p.comm === 'gantry-stream' && p.text.includes(s.workspace.run))
const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')

describe('an exec', () => {
  it('gives both outputs apart, and the exit code', async () => {
    const one = await sh('printf out; printf err >&2')
    expect(await one.ended()).toMatchObject({ status: 'Success' })
    expect([one.text(), one.stderr?.bytes.toString()]).toEqual(['out', 'err'])
    expect(await (await sh('exit 1')).exitCode()).toBe(1)
    expect(await (await sh('kill -9 $$')).exitCode()).toBe(137)
  })

  it('runs as the container’s process does: user, environment, folder', async () => {
    const session = await sh('id -u; echo $WHO; pwd')
    await session.ended()
    expect(session.text()).toBe('33\ncontainer\n/tmp\n')
  })

  it('of a program that is not there is a failure that names it', async () => {
    await expect((await exec(['/no/such/program'])).exitCode()).rejects.toThrow('/no/such/program')
  })

  it('passes stdin to its end, and gives it back to the byte', async () => {
    const session = await exec(['cat'], { stdin: true })
    const hash = createHash('sha256')
    let got = 0
    if (session.stdout)
      session.stdout.onData = (piece) => {
        hash.update(piece)
        got += piece.length
      }
    const sent = randomBytes(8 << 20)
    for (let at = 0; at < sent.length; at += 50_000)
      await session.stdin?.write(sent.subarray(at, at + 50_000))
    session.stdin?.fin()
    expect(await session.exitCode()).toBe(0)
    expect([got, hash.digest('hex')]).toEqual([sent.length, sha256(sent)])
  }, 60_000)

  it('ends when its process ends, whether or not stdin does', async () => {
    const session = await sh('read x; echo "got $x"; exit 4', { stdin: true })
    await session.stdin?.write('word\nmore that nobody reads\n')
    expect(await session.exitCode()).toBe(4)
    expect(session.text()).toBe('got word\n')
  })

  it('is not held up by a client that closes its stdin at once, or that sends more than is read', async () => {
    const empty = await exec(['wc', '-c'], { stdin: true })
    empty.stdin?.fin()
    expect(await empty.exitCode()).toBe(0)
    expect(empty.text().trim()).toBe('0')
    const deaf = await sh('exec <&-; sleep 0.3; echo over', { stdin: true })
    await deaf.stdin?.write(Buffer.alloc(3 << 20))
    expect(await deaf.exitCode()).toBe(0)
    expect(deaf.text()).toBe('over\n')
  })

  it('on a terminal has the client’s size from the start, and follows it', async () => {
    const session = await sh('stty size; echo $TERM; read x; stty size', {
      stdin: true,
      tty: true,
      size: [91, 17],
    })
    await waitUntil('the first size', () => session.text().includes('xterm'), { withinMs: 10_000 })
    expect(session.text()).toBe('17 91\r\nxterm\r\n')
    await session.resize(120, 40)
    await session.stdin?.write('\n')
    expect(await session.exitCode()).toBe(0)
    expect(session.text()).toContain('40 120\r\n')
  })

  it('takes Ctrl-C on a terminal', async () => {
    const session = await sh('echo ready; sleep 8801', { stdin: true, tty: true })
    await waitUntil('it is ready', () => session.text().includes('ready'), { withinMs: 10_000 })
    await session.stdin?.write('\x03')
    expect(await session.exitCode()).toBe(130)
    await gone('8801')
  })

  it('is ended with everything it started when its client goes away', async () => {
    const session = await sh('sleep 8802 & setsid sleep 8802 & (sleep 8802 &) ; sleep 8802')
    await runs('8802')
    session.wire.close()
    await gone('8802')
  })

  it('waits for a slow client, and nothing of its output is lost or piles up', async () => {
    const session = await sh('head -c 96000000 /dev/zero; echo end', { stdin: true })
    let got = 0
    let last = ''
    if (session.stdout)
      session.stdout.onData = (piece) => {
        got += piece.length
        if (piece.length > 0) last = piece.subarray(-4).toString()
      }
    const [worker] = await workers()
    const rss = async () =>
      Number(/VmRSS:\s+(\d+)/.exec(await readFile(`/proc/${worker?.pid}/status`, 'utf8'))?.[1])
    // A third of it first, so that the worker's heap has the size that such a flow needs.
    await waitUntil('output comes', () => got > 32_000_000, { withinMs: 30_000 })
    session.wire.wire.pause()
    const [before, held] = [await rss(), got]
    await waitUntil('nothing moves', async () => (await sh('true')).exitCode().then((code) => code === 0), {
      withinMs: 10_000,
    })
    expect(got).toBe(held)
    expect((await rss()) - before).toBeLessThan(16 * 1024)
    session.wire.wire.resume()
    expect(await session.exitCode()).toBe(0)
    expect([got, last]).toEqual([96_000_004, 'end\n'])
    expect((await rss()) - before).toBeLessThan(32 * 1024)
  }, 60_000)

  it('runs beside fifty others', async () => {
    const all = await Promise.all(
      Array.from({ length: 50 }, async (_, i) => {
        const session = await sh(`echo ${i}; exit ${i}`)
        return [await session.exitCode(), session.text()]
      }),
    )
    expect(all).toEqual(Array.from({ length: 50 }, (_, i) => [i, `${i}\n`]))
  }, 60_000)

  it('is refused by its field, or because of the container', async () => {
    const ask = (fields: object) =>
      refusalOf(s.client.call('Exec', { containerId: c.id, cmd: ['true'], stdout: true, ...fields }))
    expect(await ask({ cmd: [] })).toMatchObject({ code: 'INVALID_ARGUMENT', details: /cmd/ })
    expect(await ask({ stdout: false })).toMatchObject({ code: 'INVALID_ARGUMENT', details: /stdout/ })
    expect(await ask({ tty: true, stderr: true })).toMatchObject({
      code: 'INVALID_ARGUMENT',
      details: /stderr/,
    })
    expect(await ask({ containerId: 'f'.repeat(64) })).toMatchObject({ code: 'NOT_FOUND' })
    const over = await pod.start(busybox({ command: ['true'] }))
    await waitForExit(s.client, over)
    expect(await ask({ containerId: over })).toMatchObject({ code: 'FAILED_PRECONDITION' })
  })

  it('whose container ends before its client comes is told so', async () => {
    const other = await kept(s, pod)
    const { url } = await s.client.call('Exec', { containerId: other.id, cmd: ['true'], stdout: true })
    await s.client.call('StopContainer', { containerId: other.id, timeout: 0n })
    const { joinSession } = await import('../support/stream-client.ts')
    const session = await joinSession(url, { stderr: false })
    await expect(session.exitCode()).rejects.toThrow('ended')
  })
})

describe('an attachment', () => {
  it('of several clients shows each what is written from then on; stdin_once ends with the first', async () => {
    const id = await pod.start(busybox({ command: ['sh'], stdin: true, stdinOnce: true }))
    const first = await attachSession(s.client, id, { stdin: true })
    await first.stdin?.write('echo early\n')
    await waitUntil('the first output', () => first.text() === 'early\n', { withinMs: 10_000 })
    const second = await attachSession(s.client, id, {})
    // It is attached when its streams are answered and the monitor has it; a word to both proves it.
    await waitUntil(
      'both hear',
      async () => {
        await first.stdin?.write('echo tick\n')
        return second.text().includes('tick\n')
      },
      { withinMs: 10_000, everyMs: 50 },
    )
    await first.stdin?.write('echo late; echo bad >&2\n')
    first.stdin?.fin()
    expect(await first.ended()).toMatchObject({ status: 'Success' })
    expect(await second.ended()).toMatchObject({ status: 'Success' })
    expect(first.text()).toMatch(/^early\n(?:tick\n)+late\n$/)
    expect(second.text()).toMatch(/^(?:tick\n)+late\n$/)
    expect(second.stderr?.bytes.toString()).toBe('bad\n')
    expect(await waitForExit(s.client, id)).toMatchObject({ exitCode: 0 })
  })

  it('to a terminal follows the client’s size, and leaves the container as it is when the client goes', async () => {
    const id = await pod.start(busybox({ command: ['sh'], stdin: true, stdinOnce: true, tty: true }))
    const first = await attachSession(s.client, id, { stdin: true, tty: true, size: [99, 21] })
    await first.stdin?.write('stty size\n')
    await waitUntil('the size', () => first.text().includes('21 99\r\n'), { withinMs: 10_000 })
    first.wire.close()
    const again = await attachSession(s.client, id, { stdin: true, tty: true })
    await again.resize(80, 25)
    await again.stdin?.write('stty size; exit 3\n')
    expect(await again.ended()).toMatchObject({ status: 'Success' })
    expect(again.text()).toContain('25 80\r\n')
    expect(await waitForExit(s.client, id)).toMatchObject({ exitCode: 3 })
  })

  it('wants no terminal where there is none', async () => {
    const request = { containerId: c.id, stdin: true, stdout: true, tty: true }
    expect(await refusalOf(s.client.call('Attach', request))).toMatchObject({
      code: 'INVALID_ARGUMENT',
      details: /^tty:/,
    })
  })
})

describe('a port-forward', () => {
  const servers: Server[] = []
  /** On the node, for pods that are on its network: gives back what it got, when it got the end. */
  async function serve(host: string): Promise<number> {
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      const all: Buffer[] = []
      socket.on('data', (piece: Buffer) => all.push(piece))
      socket.on('end', () => socket.end(Buffer.concat(all)))
      socket.on('error', () => {})
    }).listen(0, host)
    servers.push(server)
    await once(server, 'listening')
    const address = server.address()
    return typeof address === 'object' && address !== null ? address.port : 0
  }
  afterAll(() => {
    for (const server of servers) server.close()
  })

  it('reaches localhost inside the pod, many times over one session; a refusal ends nothing else', async () => {
    await pod.start(busybox({ command: ['nc', '-ll', '-p', '8080', '-e', 'cat'] }))
    const session = await forwardSession(s.client, pod.podId)
    const refused = await session.connect(9)
    await refused.error.ended
    expect(refused.error.bytes.toString()).toMatch(/failed to connect to localhost:9 inside namespace/)
    await waitUntil('the server listens', async () => (await c.sh('netstat -lnt')).includes(':8080'), {
      withinMs: 10_000,
    })
    const first = await session.connect(8080)
    await first.data.write('hello ')
    await first.data.write('world')
    first.data.fin()
    expect(await first.data.ended).toBe('fin')
    expect(first.data.bytes.toString()).toBe('hello world')
    const many = await Promise.all(
      Array.from({ length: 20 }, async (_, i) => {
        const { data } = await session.connect(8080)
        await data.write(`number ${i}`)
        await waitUntil('its echo', () => data.bytes.toString() === `number ${i}`, { withinMs: 20_000 })
        data.fin()
        return data.ended
      }),
    )
    expect(new Set(many)).toEqual(new Set(['fin']))
    session.wire.close()
  }, 60_000)

  it('of a pod on the node’s network goes to the node, by either family, each direction to its end', async () => {
    const other = await s.pod('node-stream')
    const session = await forwardSession(s.client, other.podId)
    const sent = randomBytes(3 << 20)
    for (const host of ['127.0.0.1', '::1']) {
      const { data } = await session.connect(await serve(host))
      await data.write(sent)
      data.fin()
      expect(await data.ended).toBe('fin')
      expect(sha256(data.bytes)).toBe(sha256(sent))
    }
    session.wire.close()
  }, 60_000)

  it('is refused for ports that are none, and for a pod that is not ready', async () => {
    const ask = (podSandboxId: string, port: number[]) =>
      refusalOf(s.client.call('PortForward', { podSandboxId, port }))
    expect(await ask(pod.podId, [0])).toMatchObject({ code: 'INVALID_ARGUMENT', details: /port/ })
    expect(await ask(pod.podId, [65_536])).toMatchObject({ code: 'INVALID_ARGUMENT' })
    const other = await s.pod('stopped-stream')
    await s.client.call('StopPodSandbox', { podSandboxId: other.podId })
    expect(await ask(other.podId, [])).toMatchObject({ code: 'FAILED_PRECONDITION' })
  })
})

describe('when a process goes away', () => {
  it('the stream worker: its sessions end with their processes, the next request has another', async () => {
    const session = await sh('sleep 8803', { stdin: true })
    await runs('8803')
    const [worker] = await workers()
    process.kill(worker?.pid ?? 0, 'SIGKILL')
    await session.wire.closed
    await gone('8803')
    expect(await (await sh('exit 5')).exitCode()).toBe(5)
    expect((await workers()).map((w) => w.pid)).not.toContain(worker?.pid)
  })

  for (const how of ['stopped', 'killed'] as const)
    it(`the daemon, ${how} and started again: a session goes on, new ones are served`, async () => {
      const old = await sh('while read x; do echo "got $x"; done; exit 6', { stdin: true })
      await old.stdin?.write('one\n')
      await waitUntil('it answers', () => old.text() === 'got one\n', { withinMs: 10_000 })
      const [worker] = await workers()
      if (how === 'killed') await s.daemon.kill9()
      await s.daemon.restart()
      expect(await (await sh('exit 7')).exitCode()).toBe(7)
      await old.stdin?.write('two\n')
      old.stdin?.fin()
      expect(await old.exitCode()).toBe(6)
      expect(old.text()).toBe('got one\ngot two\n')
      await waitUntil(
        'the old worker ends after its last session',
        async () => !(await workers()).some((w) => w.pid === worker?.pid),
        { withinMs: 15_000 },
      )
    }, 60_000)
})

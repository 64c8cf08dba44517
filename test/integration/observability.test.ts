// SPDX-License-Identifier: Apache-2.0
/**
 * What an operator sees of a daemon: metrics over a socket and over TLS, traces at a collector, a plugin that hangs in
 * the dump and in the log, what systemd is told; and that none of it hurts when the other end is gone.
 */
import { chmod, mkdir, rm, stat, writeFile } from 'node:fs/promises'
import { type IncomingMessage, request as overHttp } from 'node:http'
import { request as overHttps, type RequestOptions } from 'node:https'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Dump } from '../../src/cli/debug.ts'
import { freePort, waitUntil } from '../support/child.ts'
import { type Collector, startCollector } from '../support/collector.ts'
import { type Exposition, expositionOf } from '../support/exposition.ts'
import { gantryCli } from '../support/gantry-cli.ts'
import { processes } from '../support/host-view.ts'
import { expectNoLeaks } from '../support/leak-check.ts'
import { notifySocket } from '../support/notify-socket.ts'
import { type Scenario, startScenario } from '../support/scenario.ts'
import { kept } from '../support/scenario-run.ts'
import { makeCertificate, makeRoot, p256 } from '../support/x509.ts'

const plugins = '/tmp/gt-observe-plugins'
const socketPath = '/run/gt-observe.sock'
const [trace, parent] = ['4bf92f3577b34da6a3ce929d0e0e4736', '00f067aa0ba902b7']
let s: Scenario
let collector: Collector

beforeAll(async () => {
  collector = await startCollector()
  await mkdir(plugins, { recursive: true })
  s = await startScenario({
    config: {
      'metrics.address': JSON.stringify(`unix://${socketPath}`),
      'traces.endpoint': JSON.stringify(collector.endpoint),
      'watchdog.job_ms': '1500',
      'cni.bin_dirs': JSON.stringify([plugins, '/opt/cni/bin', '/usr/lib/cni', '/usr/libexec/cni']),
    },
  })
})
afterAll(async () => {
  await s?.end((before) => expectNoLeaks(before, { withinMs: 5000 }))
  collector?.close()
  await rm(plugins, { recursive: true })
  await rm(socketPath, { force: true })
})

function get(
  options: RequestOptions,
  request: typeof overHttps = overHttp,
): Promise<{ code: number; text: string }> {
  return new Promise((resolve, reject) => {
    const sent = request({ path: '/metrics', ...options }, async (answer: IncomingMessage) => {
      let text = ''
      for await (const chunk of answer) text += chunk
      resolve({ code: answer.statusCode ?? 0, text })
    })
    sent.on('error', reject).end()
  })
}
const scrape = async () => expositionOf((await get({ socketPath })).text)
const calls = (e: Exposition, method: string, code = 'OK') =>
  e.value('gantry_rpc_duration_seconds_count', { method, code }) ?? 0
const until = (what: string, test: (e: Exposition) => boolean) =>
  waitUntil(what, async () => test(await scrape()), { withinMs: 10_000, everyMs: 200 })
const workers = async () =>
  (await processes()).filter((p) => p.comm === 'gantry-observe' && p.text.includes(s.workspace.run))

describe('metrics', () => {
  it('count calls by method and code, and every stage of making and ending a container', async () => {
    await waitUntil(
      'it listens',
      () =>
        stat(socketPath).then(
          () => true,
          () => false,
        ),
      { withinMs: 10_000 },
    )
    expect((await stat(socketPath)).mode & 0o777).toBe(0o600)
    const before = calls(await scrape(), 'Version')
    for (let i = 0; i < 3; i++) await s.client.call('Version', {})
    await s.client.call('ContainerStatus', { containerId: 'f'.repeat(64) }).catch(() => {})
    await until(
      'three calls more',
      (e) => calls(e, 'Version') === before + 3 && calls(e, 'ContainerStatus', 'NotFound') === 1,
    )
    const pod = await s.pod('counted', { bridged: true })
    const c = await kept(s, pod)
    await s.client.call('ExecSync', { containerId: c.id, cmd: ['true'] })
    await until('the container is seen', (e) => e.value('gantry_containers', { state: 'running' }) === 1)
    const now = await scrape()
    expect(now.value('gantry_pods', { state: 'ready' })).toBe(1)
    expect(now.value('gantry_monitors', {})).toBe(1)
    expect(now.value('gantry_process_resident_memory_bytes', {})).toBeGreaterThan(20 << 20)
    await s.client.call('StopContainer', { containerId: c.id, timeout: 0n })
    await s.client.call('RemovePodSandbox', { podSandboxId: pod.podId })
    const stages = ['pull fetch', 'pull unpack', 'run-pod namespaces', 'run-pod network']
    stages.push('create-container rootfs', 'create-container monitor', 'start-container runtime', 'exec run')
    stages.push('stop-container kill', 'stop-pod pod-network')
    await until('all stages are counted', (e) =>
      stages.every((words) => {
        const [work = '', stage = ''] = words.split(' ')
        return (e.value('gantry_stage_duration_seconds_count', { work, stage, outcome: 'ok' }) ?? 0) > 0
      }),
    )
  })

  it('a scrape every 10 ms and a flood of them at once cost the daemon nothing', async () => {
    const texts = new Set<string>()
    const slow: number[] = []
    for (let i = 0; i < 100; i++) {
      texts.add((await get({ socketPath })).text)
      const begin = performance.now()
      await s.client.call('Version', {})
      slow.push(performance.now() - begin)
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
    // One text for half a second.
    expect(texts.size).toBeLessThan(15)
    expect(slow.sort((a, b) => a - b)[50]).toBeLessThan(50)
    const flood = await Promise.allSettled(Array.from({ length: 200 }, () => get({ socketPath })))
    expect(flood.filter((f) => f.status === 'fulfilled' && f.value.code === 200).length).toBeGreaterThan(0)
    expect((await get({ socketPath })).code).toBe(200)
  })

  it('answers nothing but GET /metrics', async () => {
    expect(await get({ socketPath, path: '/' })).toMatchObject({ code: 404 })
    expect(await get({ socketPath, method: 'POST' })).toMatchObject({ code: 405 })
  })

  it('come back when their process has died, and the daemon does not notice', async () => {
    const [worker] = await workers()
    process.kill(worker?.pid ?? 0, 'SIGKILL')
    await s.client.call('Version', {})
    const other = async () => (await workers()).some((p) => p.pid !== worker?.pid)
    await waitUntil('another worker', other, { withinMs: 15_000 })
    await waitUntil(
      'it answers',
      () =>
        get({ socketPath }).then(
          ({ code }) => code === 200,
          () => false,
        ),
      {
        withinMs: 15_000,
      },
    )
    expect(s.daemon.events('observe-worker-died')).toHaveLength(1)
  })
})

describe('traces', () => {
  const spans = () => collector.batches.flatMap((b) => b.spans)
  const call = { metadata: { traceparent: `00-${trace}-${parent}-01` } }

  it('a call continues the trace of its caller, each act is a span below it', async () => {
    const config = s.podConfig('traced', { bridged: true })
    const { podSandboxId } = await s.client.call('RunPodSandbox', { config }, call)
    await s.client.call('RemovePodSandbox', { podSandboxId })
    const ours = () => spans().filter((span) => span.traceId === trace)
    await waitUntil('the spans are there', () => ours().length > 4, { withinMs: 10_000 })
    const root = ours().find((span) => span.parentSpanId === parent)
    expect(root).toMatchObject({ name: 'runtime.v1/RunPodSandbox', kind: 2, status: {} })
    const below = ours().filter((span) => span.parentSpanId === root?.spanId)
    expect(below.map((span) => span.name)).toEqual(
      expect.arrayContaining(['run-pod:namespaces', 'run-pod:network']),
    )
    expect(ours()).toHaveLength(below.length + 1)
    const service = { key: 'service.name', value: { stringValue: 'gantry' } }
    expect(collector.batches[0]?.resource).toEqual({ attributes: expect.arrayContaining([service]) })
  })

  it('no secret of a request gets into them, nor into a failed one', async () => {
    const auth = { username: 'who', password: 'pass-not-to-see' }
    await s.client.call('PullImage', { image: { image: 'localhost:1/none' }, auth }, call).catch(() => {})
    await waitUntil(
      'the failed pull is there',
      () => spans().some((x) => x.name.endsWith('/PullImage') && x.status.code === 2),
      { withinMs: 10_000 },
    )
    expect(JSON.stringify(collector.batches)).not.toMatch(/pass-not-to-see|localhost:1/)
  })

  it('a collector that does not answer holds up nothing', async () => {
    collector.status = 0
    const begin = performance.now()
    for (let i = 0; i < 500; i++) await s.client.call('Version', {})
    expect(performance.now() - begin).toBeLessThan(10_000)
    await until('metrics still come', (e) => calls(e, 'Version') >= 500)
    collector.status = 200
  })
})

describe('a plugin that hangs', () => {
  it('shows in the dump, with the lock and the call that holds it, and once in the log', async () => {
    const hold = join(plugins, 'hold')
    await writeFile(hold, '')
    const script = `#!/bin/sh\ncase $CNI_COMMAND in VERSION) echo '{"cniVersion":"1.0.0","supportedVersions":["1.0.0"]}'; exit;; ADD) ;; *) exit 0;; esac\nwhile [ -e ${hold} ]; do sleep 0.1; done\necho '{"cniVersion":"1.0.0","code":100,"msg":"let go"}'; exit 1\n`
    await writeFile(join(plugins, 'gt-stuck'), script)
    await chmod(join(plugins, 'gt-stuck'), 0o755)
    const conf = join(s.workspace.cniConf, '00-stuck.conflist')
    await writeFile(
      conf,
      JSON.stringify({ cniVersion: '1.0.0', name: 'gt-stuck', plugins: [{ type: 'gt-stuck' }] }),
    )
    await waitUntil(
      'the network is known',
      () =>
        s.daemon.log.some((l) => l.includes('gt-stuck')) ||
        s.daemon.events('network-config-changed').length > 1,
      { withinMs: 10_000 },
    )
    const running = s.pod('hangs', { bridged: true }).catch((e: unknown) => e)
    try {
      await waitUntil('the watchdog says so', () => s.daemon.events('stuck').length > 0, { withinMs: 15_000 })
      const cli = gantryCli([`--socket=${s.daemon.socket}`])
      const asked = await cli.run(['debug', 'dump', '--json'])
      const found: Dump = JSON.parse(asked.stdout)
      const job = found.jobs.find((j) => j.rpc === 'RunPodSandbox')
      expect(job?.ageMs).toBeGreaterThanOrEqual(1500)
      expect(job?.stages).toMatchObject([{ stage: 'run-pod:network' }])
      expect(found.locks.flatMap((l) => l.holders)).toContain(`RunPodSandbox (call ${job?.call})`)
      expect(found.memory.rss).toBeGreaterThan(0)
      expect((await cli.run(['debug', 'dump'])).stdout).toMatch(/RunPodSandbox +run-pod:network for \d/)
      const lines = s.daemon.events('stuck').filter((l) => l.call === job?.call)
      expect(lines).toMatchObject([
        { level: 'warn', rpc: 'RunPodSandbox', stages: [{ stage: 'run-pod:network' }] },
      ])
    } finally {
      await rm(hold)
      await rm(conf)
      expect(await running).toBeInstanceOf(Error)
    }
  })
})

describe('another start', () => {
  it('serves metrics over TLS to who shows a certificate, and to nobody else', async () => {
    const root = makeRoot('observe')
    const { privateKey, publicKey } = p256()
    const usages = ['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2']
    const cert = makeCertificate({ name: 'localhost', publicKey, issuer: root, dns: 'localhost', usages })
    const key = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
    const files = { 'cert.pem': cert, 'key.pem': key, 'ca.pem': root.pem }
    for (const [name, text] of Object.entries(files)) await writeFile(join(plugins, name), text)
    const port = await freePort()
    const tls = ['cert-file=cert', 'key-file=key', 'client-ca-file=ca'].map((f) => f.split('='))
    const flags = tls.map(([flag, name]) => `--metrics-tls-${flag}=${plugins}/${name}.pem`)
    const name = `@gt-observe-${process.pid}`
    await using systemd = await notifySocket(name)
    await s.daemon.restart({
      flags: [`--metrics-address=127.0.0.1:${port}`, ...flags],
      env: { NOTIFY_SOCKET: name, WATCHDOG_USEC: '3000000' },
    })
    const at = { host: '127.0.0.1', port, servername: 'localhost', ca: root.pem }
    const asked = () => get({ ...at, cert, key }, overHttps)
    await waitUntil(
      'it answers',
      () =>
        asked().then(
          ({ code }) => code === 200,
          () => false,
        ),
      { withinMs: 15_000 },
    )
    expect(expositionOf((await asked()).text).value('gantry_build_info', { version: '0.1.0' })).toBe(1)
    await expect(get(at, overHttps)).rejects.toThrow()
    await expect(get({ host: '127.0.0.1', port })).rejects.toThrow()

    await waitUntil('pings', () => systemd.said.filter((l) => l === 'WATCHDOG=1').length >= 2, {
      withinMs: 10_000,
    })
    expect(systemd.said[0]).toBe('READY=1')
    process.kill(s.daemon.pid, 'SIGHUP')
    await waitUntil('reloaded', () => systemd.said.filter((l) => l === 'READY=1').length === 2, {
      withinMs: 10_000,
    })
    expect(systemd.said.indexOf('RELOADING=1')).toBeLessThan(systemd.said.lastIndexOf('READY=1'))
    await s.daemon.restart({})
    await waitUntil('stopping', () => systemd.said.includes('STOPPING=1'), { withinMs: 5000 })
  })

  it('a place that cannot be had is told in the log, and the daemon is ready all the same', async () => {
    await s.daemon.restart({ flags: ['--metrics-address=unix:///proc/none/metrics'] })
    await waitUntil('it is told', () => s.daemon.events('observe-worker-failed').length > 0, {
      withinMs: 15_000,
    })
    expect(String(s.daemon.events('observe-worker-failed')[0]?.error)).toContain('metrics.address')
    await s.daemon.restart({})
  })
})

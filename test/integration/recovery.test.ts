// SPDX-License-Identifier: Apache-2.0
/**
 * The daemon comes back: to containers that went on or ended meanwhile, to a hundred pods, to files that somebody
 * has damaged, and to a machine that was started anew. What cannot be believed is set aside and told, never fatal.
 */
import { mkdir, readdir, readFile, rmdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { waitUntil } from '../support/child.ts'
import { containerState, execSync, podState } from '../support/cri-requests.ts'
import { expectNoLeaks, type Snapshot, snapshot } from '../support/leak-check.ts'
import { type Scenario, startScenario } from '../support/scenario.ts'
import { logText, waitForLog } from '../support/scenario-log.ts'
import { busybox, kept, pidOf } from '../support/scenario-run.ts'

let s: Scenario
let quiet: Snapshot

beforeAll(async () => {
  s = await startScenario()
  quiet = await snapshot(s.workspace.leakScope())
})
afterAll(() => s?.end((before) => expectNoLeaks(before, { withinMs: 10_000 })))

const containerOf = async (containerId: string) =>
  (await s.client.call('ContainerStatus', { containerId })).status
const podOf = async (podSandboxId: string) =>
  (await s.client.call('PodSandboxStatus', { podSandboxId })).status

async function problems(): Promise<readonly string[]> {
  const { info } = await s.client.call('Status', { verbose: true })
  const told: { problems: string[] } = JSON.parse(info.problems ?? 'null')
  return told.problems
}

/** Kills the daemon, does something while nobody watches, and starts it again. */
async function meanwhile(work: () => Promise<void>): Promise<void> {
  await s.daemon.kill9()
  await work()
  await s.daemon.restart({ readyWithinMs: 30_000 })
}

describe('while the daemon was away', () => {
  it('a container has gone on, logs all of it, and can be asked and stopped as before', async () => {
    const pod = await s.pod('goes-on', { bridged: true })
    const ip = (await podOf(pod.podId))?.network?.ip
    const command = [
      'sh',
      '-c',
      'trap "echo bye; exit 4" TERM; i=0; while :; do echo $i; i=$((i+1)); usleep 20000; done',
    ]
    const c = await kept(s, pod, { container: 'main', command })
    const pid = await pidOf(s, c.id)
    const path = s.logOf(pod, 'main')
    await meanwhile(async () => {
      const before = (await logText(path)).length
      await waitUntil('it logs alone', async () => (await logText(path)).length > before + 20, {
        withinMs: 10_000,
      })
    })
    expect(await podOf(pod.podId)).toMatchObject({ state: podState.ready, network: { ip } })
    expect(await pidOf(s, c.id)).toBe(pid)
    expect((await execSync(s.client, c.id, ['echo', 'hi'])).stdout).toBe('hi\n')
    await s.client.call('StopContainer', { containerId: c.id, timeout: 20n })
    expect(await containerOf(c.id)).toMatchObject({ exitCode: 4, reason: 'Error' })
    const lines = (await logText(path)).trimEnd().split('\n')
    expect(lines.pop()).toBe('bye')
    expect(lines).toEqual(lines.map((_, i) => String(i)))
    await pod.remove()
  })

  it.each([
    ['exit 0', 0, 'Completed'],
    ['exit 42', 42, 'Error'],
    ['kill -9 $$', 137, 'Error'],
  ])('a container has ended by %s: that is known, with the time', async (how, exitCode, reason) => {
    const pod = await s.pod(`ended-${exitCode}`)
    const command = ['sh', '-c', `sh -c 'until [ -e /tmp/go ]; do usleep 20000; done; ${how}'; exit $?`]
    const dir = join(s.workspace.root, `ended-${exitCode}`)
    await mkdir(dir)
    const c = await kept(s, pod, {
      container: 'main',
      command,
      mounts: [{ hostPath: dir, containerPath: '/tmp' }],
    })
    const pid = await c.pid()
    let endedNs = 0n
    await meanwhile(async () => {
      await writeFile(join(dir, 'go'), '')
      const gone = async () => (await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')) === ''
      await waitUntil('it has ended', gone, { withinMs: 10_000 })
      endedNs = BigInt(Date.now()) * 1_000_000n
    })
    const status = await containerOf(c.id)
    expect(status).toMatchObject({ state: containerState.exited, exitCode, reason })
    const { startedAt = 0n, finishedAt = 0n } = status ?? {}
    expect(finishedAt !== null && startedAt !== null && finishedAt > startedAt && finishedAt <= endedNs).toBe(
      true,
    )
    await pod.remove()
  })

  it('a created container waits at its gate and is started afterwards', async () => {
    const pod = await s.pod('at-the-gate')
    const config = busybox({ container: 'main', command: ['sh', '-c', 'echo started; sleep 600'] })
    const request = { podSandboxId: pod.podId, config, sandboxConfig: pod.config }
    const { containerId } = await s.client.call('CreateContainer', request)
    await meanwhile(async () => {})
    expect((await containerOf(containerId))?.state).toBe(containerState.created)
    expect((await s.client.call('CreateContainer', request)).containerId).toBe(containerId)
    await s.client.call('StartContainer', { containerId })
    await waitForLog(s.logOf(pod, 'main'), 'started')
    await pod.remove()
  })

  it('the monitor of a container was killed: the container ends, and its end is told as unknown', async () => {
    const pod = await s.pod('no-monitor')
    const c = await kept(s, pod)
    const pid = await c.pid()
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8')
    const monitor = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1])
    expect(await readFile(`/proc/${monitor}/comm`, 'utf8')).toBe('gantry-monitor\n')
    await meanwhile(async () => {
      if (monitor > 1) process.kill(monitor, 'SIGKILL')
    })
    expect(await containerOf(c.id)).toMatchObject({
      state: containerState.exited,
      exitCode: 255,
      reason: 'ContainerStatusUnknown',
    })
    await pod.remove()
  })

  it('the network configuration was taken away: a stop still gives the address back', async () => {
    const pod = await s.pod('no-conf', { bridged: true })
    await meanwhile(() => s.workspace.removeNetwork())
    expect((await podOf(pod.podId))?.network?.ip).not.toBe('')
    await pod.remove()
    await s.workspace.writeNetwork()
    const leased = await readdir(join(s.workspace.root, 'ipam', s.workspace.name))
    expect(leased.filter((f) => /^\d/.test(f))).toEqual([])
    await expect
      .poll(async () => (await s.client.call('Status', {})).status?.conditions?.[1]?.status, {
        timeout: 15_000,
      })
      .toBe(true)
  })
})

describe('a damaged file', () => {
  const quarantined = async () => readdir(join(s.workspace.state, 'quarantine')).catch(() => [])

  it.each([
    ['half a record', '{"v":1,"record":{"id":"'],
    ['an empty one', ''],
    ['one of another shape', '{"v":1,"record":{"id":7}}'],
    ['one of a later version', '{"v":99}'],
    ['no JSON at all', '\0\u0001\u0002'],
  ])('%s is set aside and told; the daemon starts, everything else is there', async (_what, content) => {
    const name = 'damaged'
    const [victim, other] = [await s.pod(name), await s.pod('healthy')]
    const before = (await quarantined()).length
    await meanwhile(() => writeFile(join(s.workspace.state, 'pods', victim.podId, 'record.json'), content))
    expect((await podOf(other.podId))?.state).toBe(podState.ready)
    const told = (await problems()).filter((p) => p.includes(victim.podId))
    expect(told.join()).toMatch(/moved to .*quarantine/)
    expect((await quarantined()).length).toBe(before + 1)
    const again = await s.pod(name)
    await again.remove()
    await other.remove()
  })

  it('of a container: the rest of the pod is there, and the pod can be removed', async () => {
    const pod = await s.pod('damaged-container')
    const [bad, good] = [await kept(s, pod), await kept(s, pod)]
    await meanwhile(() => writeFile(join(s.workspace.state, 'containers', bad.id, 'record.json'), '{'))
    expect((await containerOf(good.id))?.state).toBe(containerState.running)
    expect((await s.client.call('ListContainers', {})).containers?.map((c) => c.id)).toEqual([good.id])
    expect((await problems()).join()).toContain(bad.id)
    await pod.remove()
  })

  it('of a pod whose container runs: it goes on and can be removed, and then all of the pod goes', async () => {
    const pod = await s.pod('damaged-around', { bridged: true })
    const c = await kept(s, pod)
    await meanwhile(() => writeFile(join(s.workspace.state, 'pods', pod.podId, 'record.json'), '{'))
    expect((await s.client.call('ListPodSandbox', {})).items).toEqual([])
    expect(await c.sh('echo alive')).toBe('alive\n')
    await s.client.call('RemoveContainer', { containerId: c.id })
    await meanwhile(async () => {})
    await expectNoLeaks({ ...quiet, scope: { ...quiet.scope, fileRoots: [] } }, { withinMs: 15_000 })
  })

  it('a state that cannot be read makes the object unfinished: released, and the name is free', async () => {
    const pod = await s.pod('damaged-state', { bridged: true })
    await meanwhile(() => writeFile(join(s.workspace.state, 'pods', pod.podId, 'state.json'), 'nonsense'))
    await waitUntil(
      'it is released',
      async () => (await readdir(join(s.workspace.state, 'pods'))).length === 0,
      { withinMs: 15_000 },
    )
    await (await s.pod('damaged-state', { bridged: true })).remove()
  })

  it('a stranger in the folder of records is left alone', async () => {
    const stranger = join(s.workspace.state, 'pods', 'not-an-id')
    await meanwhile(async () => {
      await mkdir(stranger)
    })
    expect((await problems()).join()).toContain('not-an-id')
    expect(await readdir(join(s.workspace.state, 'pods'))).toEqual(['not-an-id'])
    await rmdir(stranger)
  })
})

describe('another boot', () => {
  it('pods are not ready, containers have ended as unknown, addresses are given back, all can be removed', async () => {
    const pod = await s.pod('rebooted', { bridged: true })
    const c = await kept(s, pod)
    // What a reboot does to the records is nothing: it is the machine's boot id that is another one then.
    await meanwhile(async () => {
      for (const [kind, id] of [
        ['pods', pod.podId],
        ['containers', c.id],
      ] as const)
        for (const file of ['record.json', 'state.json']) {
          const path = join(s.workspace.state, kind, id, file)
          const text = await readFile(path, 'utf8')
          await writeFile(
            path,
            text.replaceAll(/"bootId": ?"[^"]+"/g, '"bootId":"00000000-0000-0000-0000-000000000000"'),
          )
        }
    })
    expect(await podOf(pod.podId)).toMatchObject({ state: podState.notReady, network: { ip: '' } })
    expect(await containerOf(c.id)).toMatchObject({ state: containerState.exited, exitCode: 255 })
    await pod.remove()
  })
})

describe('a hundred pods', () => {
  it('are all there when the socket answers, soon after the start', async () => {
    const lanes = Array.from({ length: 4 }, async (_, lane) => {
      for (let i = 0; i < 25; i++) {
        const pod = await s.pod(`held-${lane}-${i}`)
        await pod.start(busybox({ container: 'main', command: ['sleep', '3600'] }))
      }
    })
    await Promise.all(lanes)
    await s.daemon.kill9()
    await s.daemon.restart({ readyWithinMs: 30_000 })
    const { readyAfterMs } = s.daemon
    const { containers } = await s.client.call('ListContainers', {
      filter: { state: { state: containerState.running } },
    })
    expect(containers).toHaveLength(100)
    expect((await s.client.call('ListPodSandbox', {})).items).toHaveLength(100)
    console.log(`ready with 100 pods and containers after ${readyAfterMs.toFixed(0)} ms`)
    expect(readyAfterMs).toBeLessThan(3000)
    await s.removePods()
  }, 180_000)
})

it('leaves nothing of all that but what was set aside', async () => {
  await expectNoLeaks(quiet, { withinMs: 15_000 })
})

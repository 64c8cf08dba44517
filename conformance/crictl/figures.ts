// SPDX-License-Identifier: Apache-2.0
/**
 * figures: the part of the crictl scenario about a runtime at work: usage, metrics, events, changed limits,
 * configuration, and the commands that are for all at once. It makes a pod of its own; the last steps take
 * everything away, images too, so it comes last.
 */
import assert from 'node:assert/strict'
import { readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { at, listAt } from './json-path.ts'
import type { Step } from './scenario.ts'
import { containerFile, podFile, printed, type Subject, until } from './subject.ts'

interface Made {
  pod: string
  container: string
}

/** The container says a line every tenth of a second, so that it has usage and a log that grows. */
async function begin(s: Subject, made: Made): Promise<void> {
  const { crictl } = s
  const pod = await crictl.file('busy-pod.json', podFile(s, 'pod-busy'))
  const script = 'trap "exit 0" TERM; i=0; while :; do i=$((i + 1)); echo line $i; sleep 0.1; done'
  const container = await crictl.file('busy.json', containerFile(s, 'ctr-busy', script))
  const handler = s.handler === '' ? [] : ['--runtime', s.handler]
  made.container = await crictl.ok('run', ...handler, container, pod)
  made.pod = await crictl.ok('pods', '-q', '--name', 'pod-busy')
}

function usageSteps(s: Subject, made: Made): Step[] {
  const { crictl } = s
  return [
    {
      name: 'stats has processor, memory and disk of a container, found by a prefix of its ID',
      run: async () => {
        await begin(s, made)
        // What a container has written is counted behind its start.
        const stats = await until(
          () => crictl.json('stats', '-o', 'json', printed(made.container)),
          (all) => at(all, 'stats', 0, 'writableLayer', 'usedBytes', 'value') !== undefined,
        )
        const [one, ...others] = listAt(stats, 'stats')
        assert.equal(others.length, 0)
        assert.equal(at(one, 'attributes', 'id'), made.container)
        assert.ok(Number(at(one, 'cpu', 'usageCoreNanoSeconds', 'value')) > 0, JSON.stringify(one))
        assert.ok(Number(at(one, 'memory', 'workingSetBytes', 'value')) > 0, JSON.stringify(one))
        assert.notEqual(at(one, 'writableLayer', 'usedBytes', 'value'), undefined)
        const table = await crictl.ok('stats', '--pod', printed(made.pod))
        assert.match(table, new RegExp(`^${printed(made.container)} +ctr-busy +\\d+\\.\\d\\d`, 'm'))
      },
    },
    {
      name: 'statsp has the usage of a pod and of its containers',
      run: async () => {
        const stats = await crictl.json('statsp', '-o', 'json', '--id', printed(made.pod))
        const [one, ...others] = listAt(stats, 'stats')
        assert.equal(others.length, 0)
        assert.equal(at(one, 'attributes', 'id'), made.pod)
        assert.ok(Number(at(one, 'linux', 'memory', 'workingSetBytes', 'value')) > 0, JSON.stringify(one))
        const [container] = listAt(one, 'linux', 'containers')
        assert.equal(at(container, 'attributes', 'id'), made.container)
        assert.match(await crictl.ok('statsp'), /pod-busy/)
      },
    },
    {
      name: 'metricdescs describes every metric that metricsp gives',
      run: async () => {
        const described = listAt(await crictl.json('metricdescs'), 'descriptors')
        const keys = new Map(described.map((d) => [at(d, 'name'), listAt(d, 'labelKeys')]))
        const pods = listAt(await crictl.json('metricsp'), 'podMetrics')
        const pod = pods.find((p) => at(p, 'podSandboxId') === made.pod)
        const metrics = [
          ...listAt(pod, 'metrics'),
          ...listAt(pod, 'containerMetrics').flatMap((c) => listAt(c, 'metrics')),
        ]
        assert.ok(metrics.length > 20, `${metrics.length} metrics: ${JSON.stringify(pods).slice(0, 500)}`)
        for (const m of metrics)
          assert.equal(listAt(m, 'labelValues').length, keys.get(at(m, 'name'))?.length, JSON.stringify(m))
      },
    },
  ]
}

function changeSteps(s: Subject, made: Made): Step[] {
  const { crictl } = s
  return [
    {
      name: 'update changes the limits of a running container',
      run: async () => {
        const limits = ['--memory', String(48 << 20), '--cpu-quota', '50000', '--cpu-period', '100000']
        await crictl.ok('update', ...limits, printed(made.container))
        const container = await crictl.json('inspect', printed(made.container))
        const linux = at(container, 'status', 'resources', 'linux')
        assert.equal(Number(at(linux, 'memoryLimitInBytes')), 48 << 20)
        assert.equal(Number(at(linux, 'cpuQuota')), 50_000)
      },
    },
    {
      name: 'logs --tail cuts, logs -f follows, logs -r goes on in a new file',
      run: async () => {
        const id = printed(made.container)
        const [last = ''] = (await crictl.ok('logs', '--tail', '1', id)).split('\n')
        assert.match(last, /^line \d+$/)
        const followed = await crictl.during(['logs', '-f', '--tail', '1', id], async (text) => {
          await until(
            async () => text().split('\n').length,
            (lines) => lines > 4,
          )
        })
        const numbers = followed.match(/\d+/g)?.map(Number) ?? []
        assert.ok(
          numbers.length > 3 && numbers.every((n, i) => i === 0 || n === (numbers[i - 1] ?? 0) + 1),
          followed,
        )
        const file = join(s.logs, 'ctr-busy.log')
        await rename(file, `${file}.old`)
        await crictl.ok('logs', '-r', id)
        const fresh = await until(
          () => readFile(file, 'utf8').catch(() => ''),
          (text) => text !== '',
        )
        assert.match(fresh, / stdout F line \d+\n/)
      },
    },
    {
      name: 'checkpoint is refused by name and changes nothing',
      run: async () => {
        const refused = await crictl.run(
          'checkpoint',
          '--export',
          join(crictl.dir, 'c.tar'),
          printed(made.pod),
        )
        assert.notEqual(refused.code, 0)
        assert.match(refused.stderr, /Unimplemented/i)
      },
    },
    {
      name: 'events tells of the end of a container and of its removal',
      run: async () => {
        const types = ['CONTAINER_STOPPED_EVENT', 'CONTAINER_DELETED_EVENT']
        const told = await crictl.during(['events'], async (text) => {
          await crictl.ok('pods') // the stream was opened before this was asked
          await crictl.ok('stop', '-t', '5', printed(made.container))
          await crictl.ok('rm', printed(made.container))
          await until(
            async () => text(),
            (all) => types.every((type) => all.includes(type)),
          )
        })
        for (const type of types) assert.ok(told.includes(type), `${type}: ${told}`)
        assert.ok(told.includes(made.container))
      },
    },
  ]
}

function nodeSteps(s: Subject): Step[] {
  const { crictl } = s
  return [
    {
      name: 'runtime-config names the cgroup driver; update-runtime-config takes a pod CIDR',
      run: async () => {
        assert.match(await crictl.ok('runtime-config'), /cgroupfs|systemd/i)
        await crictl.ok('update-runtime-config', '--pod-cidr', '10.250.0.0/24')
      },
    },
    {
      name: 'config shows and changes the configuration of crictl, completion prints a script',
      run: async () => {
        const timeout = await crictl.ok('config', '--get', 'timeout')
        await crictl.ok('config', '--set', 'timeout=31')
        assert.equal(await crictl.ok('config', '--get', 'timeout'), '31')
        await crictl.ok('config', 'timeout', timeout)
        assert.match(await crictl.ok('config', '--list'), new RegExp(`timeout +${timeout}$`, 'm'))
        assert.match(await crictl.ok('completion', 'bash'), /crictl/)
      },
    },
    {
      name: 'rm -a, rmp -a and rmi -a take everything away, and say so when there is nothing',
      run: async () => {
        await crictl.ok('rm', '-a', '-f')
        await crictl.ok('rmp', '-a', '-f')
        await crictl.ok('rmi', '-a')
        assert.deepEqual([await crictl.ok('ps', '-a', '-q'), await crictl.ok('pods', '-q')], ['', ''])
        for (const [command, what] of [
          ['rm', 'containers'],
          ['rmp', 'pods|sandboxes'],
          ['rmi', 'images'],
        ] as const) {
          const again = await crictl.run(command, '-a')
          assert.match(again.stdout + again.stderr, new RegExp(`No (${what}) to remove`), command)
        }
      },
    },
  ]
}

/** The steps, in order. */
export function figureSteps(s: Subject): readonly Step[] {
  const made: Made = { pod: '', container: '' }
  return [...usageSteps(s, made), ...changeSteps(s, made), ...nodeSteps(s)]
}

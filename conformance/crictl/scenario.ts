// SPDX-License-Identifier: Apache-2.0
/**
 * scenario: what a person with crictl does on a node, from `version` to `run`, as a list of steps that share
 * what they made. IDs are given as the 13 characters that crictl prints. The steps run in order and each needs
 * those before it; they assert with node:assert, so any runner will do. At the end nothing is left but what the
 * runtime keeps by itself.
 */
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Crictl } from './crictl.ts'
import { figureSteps } from './figures.ts'
import { at, listAt } from './json-path.ts'
import { containerFile, podFile, printed, type Subject, until } from './subject.ts'

export interface Step {
  readonly name: string
  run(): Promise<void>
}

/** What the steps have made so far: whole IDs. */
interface Made {
  image: string
  pod: string
  container: string
}

function runtimeSteps(s: Subject): Step[] {
  const { crictl } = s
  return [
    {
      name: 'version names the runtime and CRI v1',
      run: async () => {
        const text = await crictl.ok('version')
        assert.match(text, /^RuntimeName: +\S+$/m)
        assert.match(text, /^RuntimeVersion: +\S+$/m)
        assert.match(text, /^RuntimeApiVersion: +v1$/m)
        if (s.runtimeName !== undefined)
          assert.match(text, new RegExp(`^RuntimeName: +${s.runtimeName}$`, 'm'))
      },
    },
    {
      name: 'info says that runtime and network are ready',
      run: async () => {
        const info = await crictl.json('info')
        const conditions = listAt(info, 'status', 'conditions')
        for (const type of ['RuntimeReady', 'NetworkReady']) {
          const found = conditions.find((c) => at(c, 'type') === type)
          assert.equal(at(found, 'status'), true, `${type}: ${JSON.stringify(found)}`)
        }
        const handlers = listAt(info, 'runtimeHandlers').map((h) => at(h, 'name') ?? '')
        assert.ok(
          handlers.includes(s.handler),
          `handler ${JSON.stringify(s.handler)} is in ${JSON.stringify(handlers)}`,
        )
      },
    },
  ]
}

function imageSteps(s: Subject, made: Made): Step[] {
  const { crictl } = s
  return [
    {
      name: 'an image that was never pulled is not listed and cannot be inspected',
      run: async () => {
        const images = await crictl.json('images', '-o', 'json')
        const tags = listAt(images, 'images').flatMap((i) => listAt(i, 'repoTags'))
        assert.ok(!tags.includes(s.image), `${s.image} is there before the pull`)
        assert.notEqual((await crictl.run('inspecti', s.image)).code, 0)
      },
    },
    {
      name: 'pull says which image it is',
      run: async () => {
        const text = await crictl.ok('pull', s.image)
        const id = /^Image is up to date for (\S+)$/m.exec(text)?.[1]
        assert.ok(id !== undefined, text)
        made.image = id
        assert.equal(await crictl.ok('pull', s.image), text, 'a second pull finds the same')
      },
    },
    {
      name: 'images lists it with tag, digest and size',
      run: async () => {
        const images = await crictl.json('images', '-o', 'json')
        const found = listAt(images, 'images').filter((i) => at(i, 'id') === made.image)
        assert.equal(found.length, 1)
        assert.deepEqual(at(found[0], 'repoTags'), [s.image])
        assert.match(String(at(found[0], 'repoDigests', 0)), /^[^@]+@sha256:[0-9a-f]{64}$/)
        assert.ok(Number(at(found[0], 'size')) > 0)
        const table = await crictl.ok('images')
        assert.ok(table.includes(printed(made.image)), table)
        assert.equal(await crictl.ok('images', '-q', s.image), made.image)
      },
    },
    {
      name: 'inspecti finds it by a prefix of its ID, by name and by digest',
      run: async () => {
        const byPrefix = await crictl.json('inspecti', printed(made.image))
        assert.equal(at(byPrefix, 'status', 'id'), made.image)
        assert.notEqual(at(byPrefix, 'info'), undefined)
        const digest = String(at(byPrefix, 'status', 'repoDigests', 0))
        for (const name of [s.image, made.image, digest]) {
          const same = await crictl.json('inspecti', name)
          assert.deepEqual(at(same, 'status'), at(byPrefix, 'status'), name)
        }
      },
    },
    {
      name: 'imagefsinfo tells where images are and what they take',
      run: async () => {
        const first = (info: unknown): unknown => at(info, 'status', 'imageFilesystems', 0)
        const used = (info: unknown): number => Number(at(first(info), 'usedBytes', 'value'))
        const info = await until(
          () => crictl.json('imagefsinfo', '-o', 'json'),
          (i) => used(i) > 0,
        )
        assert.match(String(at(first(info), 'fsId', 'mountpoint')), /^\//, JSON.stringify(info))
        assert.ok(used(info) > 0, JSON.stringify(info))
      },
    },
  ]
}

function podSteps(s: Subject, made: Made): Step[] {
  const { crictl } = s
  return [
    {
      name: 'runp starts a pod',
      run: async () => {
        const file = await crictl.file('pod.json', podFile(s, 'pod-one'))
        const handler = s.handler === '' ? [] : ['--runtime', s.handler]
        made.pod = await crictl.ok('runp', ...handler, file)
        assert.match(made.pod, /^[0-9a-f]{64}$/)
      },
    },
    {
      name: 'pods lists it by prefix, name, label and state',
      run: async () => {
        for (const by of [
          ['--id', printed(made.pod)],
          ['--name', 'pod-one'],
          ['--label', 'scenario=crictl'],
          ['--state', 'ready'],
        ])
          assert.ok((await crictl.ok('pods', '-q', ...by)).split('\n').includes(made.pod), by.join(' '))
        assert.equal(await crictl.ok('pods', '-q', '--id', printed(made.pod), '--state', 'notready'), '')
        assert.match(await crictl.ok('pods', '--id', printed(made.pod)), /Ready +pod-one +crictl +0/)
      },
    },
    {
      name: 'inspectp shows its status, its address and more',
      run: async () => {
        const pod = await crictl.json('inspectp', printed(made.pod))
        assert.equal(at(pod, 'status', 'id'), made.pod)
        assert.equal(at(pod, 'status', 'state'), 'SANDBOX_READY')
        assert.equal(at(pod, 'status', 'metadata', 'uid'), 'uid-of-pod-one')
        assert.match(String(at(pod, 'status', 'network', 'ip')), /^\d+\.\d+\.\d+\.\d+$/)
        assert.notEqual(at(pod, 'info'), undefined)
      },
    },
  ]
}

function containerSteps(s: Subject, made: Made): Step[] {
  const { crictl } = s
  const script = 'echo to stdout; echo to stderr >&2; trap "exit 7" TERM; while :; do sleep 0.1; done'
  return [
    {
      name: 'create makes a container that does not run yet',
      run: async () => {
        const pod = join(crictl.dir, 'pod.json')
        const file = await crictl.file('container.json', containerFile(s, 'ctr-one', script))
        made.container = await crictl.ok('create', printed(made.pod), file, pod)
        assert.match(made.container, /^[0-9a-f]{64}$/)
        assert.equal(
          await crictl.ok('ps', '-a', '-q', '--state', 'created', '--id', printed(made.container)),
          made.container,
        )
        assert.equal(await crictl.ok('ps', '-q', '--id', printed(made.container)), '')
      },
    },
    {
      name: 'start starts it',
      run: async () => {
        assert.equal(await crictl.ok('start', printed(made.container)), printed(made.container))
        const ctr = await crictl.json('inspect', printed(made.container))
        assert.equal(at(ctr, 'status', 'state'), 'CONTAINER_RUNNING')
        assert.ok(Date.parse(String(at(ctr, 'status', 'startedAt'))) > 0)
      },
    },
    {
      name: 'ps lists it by prefix, pod, name and image',
      run: async () => {
        for (const by of [
          ['--id', printed(made.container)],
          ['--pod', printed(made.pod)],
          ['--name', 'ctr-one'],
          ['--image', s.image],
        ])
          assert.ok((await crictl.ok('ps', '-q', ...by)).split('\n').includes(made.container), by.join(' '))
        const row = await crictl.ok('ps', '--id', printed(made.container))
        assert.match(
          row,
          new RegExp(`^${printed(made.container)} .*Running +ctr-one +0 +${printed(made.pod)}`, 'm'),
        )
      },
    },
    {
      name: 'inspect shows status, image and pid',
      run: async () => {
        const ctr = await crictl.json('inspect', printed(made.container))
        assert.equal(at(ctr, 'status', 'id'), made.container)
        assert.equal(at(ctr, 'status', 'state'), 'CONTAINER_RUNNING')
        assert.equal(at(ctr, 'status', 'imageId'), made.image)
        assert.equal(at(ctr, 'status', 'logPath'), join(s.logs, 'ctr-one.log'))
        assert.ok(Number(at(ctr, 'info', 'pid')) > 1, JSON.stringify(at(ctr, 'info')))
      },
    },
    {
      name: 'logs shows both streams',
      run: async () => {
        const both = await until(
          () => crictl.run('logs', printed(made.container)),
          (o) => o.stdout !== '' && o.stderr.includes('to stderr'),
        )
        assert.equal(both.stdout, 'to stdout\n')
        assert.ok(both.stderr.includes('to stderr\n'), both.stderr)
        const lines = (await readFile(join(s.logs, 'ctr-one.log'), 'utf8')).trimEnd().split('\n')
        for (const line of lines)
          assert.match(
            line,
            /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{1,9}(Z|[+-]\d\d:\d\d) (stdout|stderr) F to \2$/,
          )
      },
    },
    {
      name: 'exec -s runs a command in it and passes its failure on',
      run: async () => {
        const id = printed(made.container)
        assert.equal(await crictl.ok('exec', '-s', id, 'sh', '-c', 'echo "$GREETING"'), 'good day')
        assert.equal(await crictl.ok('exec', '-s', id, 'hostname'), 'pod-one')
        const failed = await crictl.run('exec', '-s', id, 'sh', '-c', 'exit 42')
        assert.notEqual(failed.code, 0)
        assert.match(failed.stderr, /42/)
        const late = await crictl.run('exec', '-s', '--timeout', '1', id, 'sleep', '30')
        assert.notEqual(late.code, 0)
      },
    },
    {
      name: 'stop ends it by TERM within its grace',
      run: async () => {
        assert.equal(
          await crictl.ok('stop', '--timeout', '10', printed(made.container)),
          printed(made.container),
        )
        const ctr = await crictl.json('inspect', printed(made.container))
        assert.equal(at(ctr, 'status', 'state'), 'CONTAINER_EXITED')
        assert.equal(at(ctr, 'status', 'exitCode'), 7)
        assert.equal(
          await crictl.ok('stop', printed(made.container)),
          printed(made.container),
          'stopping twice',
        )
        assert.notEqual((await crictl.run('start', printed(made.container))).code, 0, 'starting it again')
      },
    },
  ]
}

function removalSteps(s: Subject, made: Made): Step[] {
  const { crictl } = s
  return [
    {
      name: 'rm removes the container',
      run: async () => {
        assert.equal(await crictl.ok('rm', printed(made.container)), printed(made.container))
        assert.equal(await crictl.ok('ps', '-a', '-q', '--id', printed(made.container)), '')
        assert.notEqual((await crictl.run('inspect', made.container)).code, 0)
      },
    },
    {
      name: 'stopp stops the pod',
      run: async () => {
        assert.match(await crictl.ok('stopp', printed(made.pod)), /^Stopped sandbox /)
        const pod = await crictl.json('inspectp', printed(made.pod))
        assert.equal(at(pod, 'status', 'state'), 'SANDBOX_NOTREADY')
        await crictl.ok('stopp', printed(made.pod))
      },
    },
    {
      name: 'rmp removes it',
      run: async () => {
        assert.match(await crictl.ok('rmp', printed(made.pod)), /^Removed sandbox /)
        assert.equal(await crictl.ok('pods', '-q', '--id', printed(made.pod)), '')
        assert.notEqual((await crictl.run('inspectp', made.pod)).code, 0)
      },
    },
    {
      name: 'rmi removes the image by a prefix of its ID',
      run: async () => {
        assert.match(await crictl.ok('rmi', printed(made.image)), new RegExp(`^Deleted: ${s.image}$`, 'm'))
        assert.notEqual((await crictl.run('inspecti', made.image)).code, 0)
        const left = (await crictl.ok('images', '-q')).split('\n')
        assert.ok(!left.includes(made.image))
      },
    },
    {
      name: 'run does it all in one: pull, pod, container, output; rmp -f takes it away',
      run: async () => {
        const pod = await crictl.file('run-pod.json', podFile(s, 'pod-two'))
        const container = await crictl.file('run.json', containerFile(s, 'ctr-two', 'echo it ran; exit 3'))
        const handler = s.handler === '' ? [] : ['--runtime', s.handler]
        const id = await crictl.ok('run', ...handler, container, pod)
        const ctr = await until(
          () => crictl.json('inspect', printed(id)),
          (c) => at(c, 'status', 'state') === 'CONTAINER_EXITED',
        )
        assert.equal(at(ctr, 'status', 'exitCode'), 3)
        assert.equal(await crictl.ok('logs', printed(id)), 'it ran')
        const podId = await crictl.ok('pods', '-q', '--name', 'pod-two')
        await crictl.ok('rmp', '-f', printed(podId))
        assert.equal(await crictl.ok('ps', '-a', '-q', '--pod', printed(podId)), '')
        await crictl.ok('rmi', s.image)
      },
    },
  ]
}

/** The steps, in order, for one subject. */
export function steps(s: Subject): readonly Step[] {
  const made: Made = { image: '', pod: '', container: '' }
  return [
    ...runtimeSteps(s),
    ...imageSteps(s, made),
    ...podSteps(s, made),
    ...containerSteps(s, made),
    ...removalSteps(s, made),
    ...figureSteps(s),
  ]
}

/** What the steps are called, for runners that list tests before anything is started. */
export function stepNames(): readonly string[] {
  const never = (): never => {
    throw new Error('only the names of the steps are wanted')
  }
  const crictl: Crictl = { dir: '', run: never, ok: never, json: never, during: never, file: never }
  return steps({ crictl, handler: '', image: '', cgroupParent: '', logs: '' }).map((s) => s.name)
}

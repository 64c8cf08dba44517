// SPDX-License-Identifier: Apache-2.0
/**
 * The image commands as a person and a script meet them, over a real daemon and a registry on loopback: what goes
 * to stdout and what to stderr, exit codes, bars on a terminal, Ctrl-C, readers that leave early.
 */
import { randomBytes } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { waitUntil } from '../support/child.ts'
import { containerConfig, hostNetworkPod, runPod } from '../support/cri-requests.ts'
import { type Daemon, startDaemon } from '../support/daemon.ts'
import { type GantryCli, gantryCli, type Ran } from '../support/gantry-cli.ts'
import { expectNoLeaks, type Snapshot, snapshot } from '../support/leak-check.ts'
import { buildImage } from '../support/oci-image.ts'
import { buildLayer } from '../support/oci-layer.ts'
import { type PullRegistry, pullRegistry } from '../support/pull-registry.ts'
import { makeWorkspace, type Workspace } from '../support/workspace.ts'

let w: Workspace
let registry: PullRegistry
let daemon: Daemon
let cli: GantryCli
let before: Snapshot
let layers: readonly string[]

const run: GantryCli['run'] = (args, stdin) => cli.run(args, stdin)
const image = (name: string): string => `${registry.host}/${name}`
const idOf = async (name: string): Promise<string> =>
  (await run(['images', '-q', '--no-trunc', image(name)])).stdout.trim()
const problem = (ran: Ran): string => ran.stderr.replace(/^[0-9a-f]{12}: .*\n/gm, '')

beforeAll(async () => {
  registry = await pullRegistry()
  const base = await buildLayer([
    { type: 'directory', path: 'tmp', mode: 0o1777 },
    { type: 'file', path: 'etc/motd', content: 'base\n' },
  ])
  const big = await buildLayer([{ type: 'file', path: 'big', content: randomBytes(3_000_000) }])
  const app = await buildImage({ layers: [base, big], config: { Cmd: ['/none'], Labels: { v: '1' } } })
  layers = app.layers.map((l) => l.digest)
  registry.add('app', '1', app)
  registry.add('app', '2', await buildImage({ layers: [base], config: { Labels: { v: '2' } } }))
  w = await makeWorkspace({ withoutNetwork: true })
  cli = gantryCli([`--config=${w.configFile}`])
  before = await snapshot(w.leakScope())
  daemon = await startDaemon(w)
}, 120_000)

afterEach(() => {
  registry.intercept = undefined
})

afterAll(async () => {
  try {
    await daemon?.stop()
    await expectNoLeaks(before)
  } finally {
    await w?.remove()
    await registry?.[Symbol.asyncDispose]()
  }
})

/** No layer comes until the returned function is called. */
function holdLayers(): () => void {
  const { promise, resolve } = Promise.withResolvers<void>()
  registry.intercept = async (req) => {
    if (layers.some((digest) => req.path.endsWith(digest))) await promise
    return false
  }
  return resolve
}

describe('gantry pull', () => {
  it('says one line on stdout, how it went on stderr, and fetches nothing a second time', async () => {
    const first = await run(['pull', image('app:1')])
    expect(first.stdout).toMatch(new RegExp(`^${image('app:1')}: [0-9a-f]{12}, \\d\\.\\d MiB\n$`))
    expect(first.stderr).toMatch(/^[0-9a-f]{12}: .*\n/)
    expect(first.stdout + first.stderr).not.toContain('\x1b')
    expect(first.code).toBe(0)
    const fetched = registry.blobGets().length
    const second = await run(['pull', '-q', image('app:1')])
    expect(second).toEqual({ code: 0, stdout: `${await idOf('app:1')}\n`, stderr: '' })
    expect(registry.blobGets().length - fetched).toBeLessThanOrEqual(1)
  })

  it('tries all that it is given, and fails if one cannot be had', async () => {
    const ran = await run(['pull', image('nothing:1'), image('app:2')])
    expect(ran.code).toBe(1)
    expect(ran.stdout).toContain(`${image('app:2')}: `)
    expect(problem(ran)).toMatch(/^gantry: pull .*nothing:1: .*\n$/)
    const json = await run(['pull', '--json', image('nothing:1'), image('app:2')])
    expect(JSON.parse(json.stdout)).toMatchObject([
      { image: image('nothing:1'), error: expect.stringContaining('nothing:1') },
      { image: image('app:2'), name: image('app:2'), id: await idOf('app:2') },
    ])
    expect(json.code).toBe(1)
  })

  it('shows a bar for each layer on a terminal, drawn over the last ones', async () => {
    await run(['prune', '--all', '--force'])
    const go = holdLayers()
    const pulling = cli.onTerminal(['pull', image('app:1')])
    await waitUntil('a bar is drawn', () => /\[ {10,}\]/.test(pulling.seen()), { withinMs: 20_000 })
    go()
    const { code, stdout } = await pulling.ended
    expect(stdout).toContain('\x1b[2A\r\x1b[J')
    expect(stdout).toMatch(/[0-9a-f]{12} {2}(?:done|had) +\[=+\] {2}\d\.\d MiB/)
    expect(stdout).toContain(`${image('app:1')}: `)
    expect(code).toBe(0)
  })

  it('is in the status while it runs, and given up at Ctrl-C with an exit code of its own', async () => {
    await run(['prune', '--all', '--force'])
    const go = holdLayers()
    try {
      const pulling = cli.start(['pull', image('app:1')])
      const pulls = async () => JSON.parse((await run(['status', '--json'])).stdout).pulls
      await waitUntil('the pull has its layers', async () => (await pulls())[0]?.layers === 2, {
        withinMs: 20_000,
      })
      expect(await pulls()).toMatchObject([{ image: image('app:1'), callers: 1, layersDone: 0 }])
      expect((await run(['status'])).stdout).toMatch(/^pulls +127\.0\.0\.1:\d+\/app:1, 0 of 2 layers, /m)
      process.kill(pulling.pid, 'SIGINT')
      expect(await pulling.ended).toMatchObject({
        code: 130,
        stdout: '',
        stderr: expect.stringMatching(/interrupted\n$/),
      })
      await waitUntil('no pull is left', async () => (await pulls()).length === 0, { withinMs: 10_000 })
    } finally {
      go()
    }
    expect(await idOf('app:1')).toBe('')
  })

  it('is given up by Ctrl-C typed on a terminal', async () => {
    const go = holdLayers()
    try {
      const pulling = cli.onTerminal(['pull', image('app:1')])
      await waitUntil('a bar is drawn', () => /\[ {10,}\]/.test(pulling.seen()), { withinMs: 20_000 })
      pulling.stdin.write('\x03')
      expect((await pulling.ended).code).toBe(130)
    } finally {
      go()
    }
  })

  it('uses credentials from stdin for this call, and shows them nowhere', async () => {
    const seen: string[] = []
    registry.intercept = (req, res) => {
      const { authorization = '' } = req.headers
      seen.push(authorization)
      if (authorization === `Basic ${Buffer.from('alice:hunter2').toString('base64')}`) return false
      res.writeHead(401, { 'www-authenticate': 'Basic realm="test"' }).end()
      return true
    }
    const without = await run(['pull', image('app:2')])
    expect(without.code).toBe(1)
    const wrong = await run(['pull', '--creds-stdin', image('app:2')], 'alice:wrong-secret\n')
    expect(wrong.code).toBe(1)
    const right = await run(['pull', '--creds-stdin', image('app:2')], 'alice:hunter2\n')
    expect(right.code).toBe(0)
    const said = `${wrong.stderr}${right.stderr}${right.stdout}${daemon.log.join('\n')}`
    for (const secret of ['hunter2', 'wrong-secret', ...seen.filter((s) => s !== '')])
      expect(said).not.toContain(secret)
  })

  it('and all others tell a daemon that is not there from a failure', async () => {
    for (const args of [['pull', 'x'], ['images'], ['rmi', 'x'], ['save', 'x'], ['prune', '-f']]) {
      const ran = await run([...args, `--socket=${w.root}/none.sock`])
      expect(ran).toMatchObject({
        code: 3,
        stdout: '',
        stderr: expect.stringMatching(/^gantry: no daemon answers on /),
      })
    }
  })
})

describe('gantry images, tag, rmi, history, inspect', () => {
  beforeAll(async () => {
    await run(['pull', '-q', image('app:1'), image('app:2')])
  })

  it('a table, ids, or JSON', async () => {
    const table = await run(['images'])
    expect(table.stdout.split('\n')[0]).toMatch(/^REPOSITORY +TAG +IMAGE ID +CREATED +SIZE +IN USE$/)
    expect(table.stdout).toMatch(new RegExp(`^${registry.host}/app +1 +[0-9a-f]{12} .* -$`, 'm'))
    expect(table).toMatchObject({ code: 0, stderr: '' })
    const json = JSON.parse((await run(['images', '--json', image('app:1')])).stdout)
    expect(json).toMatchObject([{ tags: [image('app:1')], containers: 0, pinned: false }])
    expect((await run(['images', '-q', '--filter=in-use=true'])).stdout).toBe('')
    expect(await run(['images', '--filter=x=1'])).toMatchObject({ code: 2, stdout: '' })
  })

  it('a name more, and one less until the last one takes the image away', async () => {
    expect(await run(['tag', image('app:2'), 'local/other:x'])).toEqual({ code: 0, stdout: '', stderr: '' })
    const id = await idOf('app:2')
    expect((await run(['rmi', image('app:2')])).stdout).toContain(`untagged: ${image('app:2')}\n`)
    const last = await run(['rmi', 'local/other:x'])
    expect(last.stdout).toContain(`removed: ${id}\n`)
    const gone = await run(['rmi', image('app:2')])
    expect(gone).toEqual({ code: 1, stdout: '', stderr: `gantry: image "${image('app:2')}" is not here\n` })
    expect(await run(['rmi', '--force', image('app:2')])).toEqual({ code: 0, stdout: '', stderr: '' })
    await run(['pull', '-q', image('app:2')])
  })

  it('the steps of an image', async () => {
    const ran = await run(['history', image('app:1')])
    expect(ran.stdout.split('\n')[0]).toMatch(/^CREATED +SIZE +CREATED BY +COMMENT$/)
    expect(ran.stdout.trim().split('\n')).toHaveLength(3)
    const json = JSON.parse((await run(['history', '--json', image('app:1')])).stdout)
    expect(json.steps.map((s: { sizeBytes: number }) => s.sizeBytes > 0)).toEqual([true, true])
  })

  it('everything about an image, a pod and a container, by their names', async () => {
    const pod = await runPod(daemon.client, hostNetworkPod('web', { logDirectory: w.logs }))
    try {
      const { containerId } = await daemon.client.call('CreateContainer', {
        podSandboxId: pod.podId,
        config: containerConfig('main', image('app:1')),
        sandboxConfig: pod.config,
      })
      const ran = await run(['inspect', image('app:1'), 'default/web', 'web/main', containerId.slice(0, 12)])
      const id = await idOf('app:1')
      expect(JSON.parse(ran.stdout)).toMatchObject([
        {
          kind: 'image',
          id,
          config: { config: { Labels: { v: '1' } } },
          containers: [{ id: containerId, name: 'main' }],
        },
        { kind: 'pod', id: pod.podId, containers: [{ id: containerId }] },
        { kind: 'container', id: containerId, pod: { namespace: 'default', name: 'web' }, image: { id } },
        { kind: 'container', id: containerId },
      ])
      expect(ran).toMatchObject({ code: 0, stderr: '' })
      const some = await run(['inspect', '--type=pod', 'web', 'main'])
      expect(JSON.parse(some.stdout)).toMatchObject([{ kind: 'pod' }])
      expect(some).toMatchObject({ code: 1, stderr: 'gantry: there is no pod "main" here\n' })
      expect((await run(['images', image('app:1')])).stdout).toMatch(/ 1\n$/)
    } finally {
      await pod.remove()
    }
  })

  it('a reader that leaves early is no failure of a list', async () => {
    const ran = await cli.shell(`${cli.line(['images'])} | true; echo "\${PIPESTATUS[0]}"`)
    expect(ran).toMatchObject({ stdout: '0\n', stderr: '' })
  })
})

describe('gantry prune', () => {
  beforeAll(async () => {
    await run(['pull', '-q', image('app:1'), image('app:2')])
  })

  it('says what would go, and does nothing where nobody can be asked', async () => {
    const dry = await run(['prune', '--all', '--dry-run'])
    expect(dry.stdout).toContain(`${image('app:1')}`)
    expect(dry.stdout).toMatch(/^would free: \d/m)
    const ran = await run(['prune', '--all'])
    expect(ran.code).toBe(2)
    expect(ran.stderr).toContain('prune: there is no terminal to ask on: say --force, or --dry-run\n')
    expect(await idOf('app:1')).not.toBe('')
  })

  it('asks on a terminal, and takes only yes for yes', async () => {
    const answered = async (answer: string): Promise<Ran> => {
      const asking = cli.onTerminal(['prune', '--all'])
      await waitUntil('it asks', () => asking.seen().includes('? [y/N] '), { withinMs: 20_000 })
      asking.stdin.write(answer)
      return asking.ended
    }
    expect((await answered('\r')).code).toBe(0)
    expect(await idOf('app:1')).not.toBe('')
    expect((await answered('\x03')).code).toBe(130)
    expect(await idOf('app:1')).not.toBe('')
    const yes = await answered('y\r')
    expect(yes.stdout).toMatch(/freed: \d\.\d MiB/)
    expect(await idOf('app:1')).toBe('')
    expect(await readdir(join(w.state, 'layers'))).toEqual([])
  })
})

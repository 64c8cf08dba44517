// SPDX-License-Identifier: Apache-2.0
/**
 * Archives, pushes and diffs on the command line, over a real daemon, a real registry on loopback and containers
 * that run: what comes back is what went out, and what fails leaves nothing.
 */
import { readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ensureTestImages } from '../images/build.ts'
import { names } from '../images/catalog.ts'
import { containerConfig, execSync, hostNetworkPod, runPod } from '../support/cri-requests.ts'
import { type Daemon, startDaemon } from '../support/daemon.ts'
import { type GantryCli, gantryCli } from '../support/gantry-cli.ts'
import { expectNoLeaks, type Snapshot, snapshot } from '../support/leak-check.ts'
import { type Registry, registryUser, startRegistry } from '../support/registry.ts'
import { makeWorkspace, type Workspace } from '../support/workspace.ts'

let w: Workspace
let registry: Registry
let locked: Registry
let daemon: Daemon
let cli: GantryCli
let before: Snapshot

const run: GantryCli['run'] = (args, stdin) => cli.run(args, stdin)
/** Two images of the registry, of one and of several layers. */
const first = () => `${registry.host}/first:1`
const second = () => `${registry.host}/second:1`
const idOf = async (name: string): Promise<string> =>
  (await run(['images', '-q', '--no-trunc', name])).stdout.trim()

beforeAll(async () => {
  const layout = await ensureTestImages()
  registry = await startRegistry()
  locked = await startRegistry({ auth: true })
  await registry.push(layout.image(names.busybox), 'first:1')
  await registry.push(layout.image(names.manyLayers), 'second:1')
  w = await makeWorkspace({ withoutNetwork: true })
  cli = gantryCli([`--config=${w.configFile}`])
  before = await snapshot(w.leakScope())
  daemon = await startDaemon(w)
  await run(['pull', '-q', first(), second()])
}, 300_000)

afterAll(async () => {
  try {
    await daemon?.stop()
    await expectNoLeaks(before)
  } finally {
    await w?.remove()
    await registry?.stop()
    await locked?.stop()
  }
})

describe('gantry save and load', () => {
  const file = () => join(w.root, 'app.tar')

  it('an archive of two images in a file, which come back with their names and ids', async () => {
    const ids = [await idOf(first()), await idOf(second())]
    const saved = await run(['save', '-o', file(), first(), second()])
    expect(saved).toMatchObject({ code: 0, stdout: '' })
    expect(saved.stderr).toMatch(/app\.tar: 2 images, \d\.\d MiB\n$/)
    await run(['prune', '--all', '--force'])
    const loaded = await run(['load', '-i', file()])
    expect(loaded.code).toBe(0)
    expect(loaded.stdout.split('\n').sort()).toEqual([
      '',
      `${first()}: ${ids[0]?.slice(7, 19)}`,
      `${second()}: ${ids[1]?.slice(7, 19)}`,
    ])
    expect([await idOf(first()), await idOf(second())]).toEqual(ids)
  })

  it('through a pipe, in both formats', async () => {
    const id = await idOf(first())
    for (const format of ['docker', 'oci']) {
      const ran = await cli.shell(
        `set -o pipefail; ${cli.line(['save', `--format=${format}`, first()])} | ${cli.line(['load', '-q'])}`,
      )
      expect(ran).toMatchObject({ code: 0, stdout: `${first()}\n` })
      expect(await idOf(first())).toBe(id)
    }
  })

  it('JSON says what is in the file', async () => {
    const ran = await run(['save', '--json', '-o', file(), first()])
    const { size } = await stat(file())
    expect(JSON.parse(ran.stdout)).toMatchObject({
      file: file(),
      bytes: size,
      images: [{ id: await idOf(first()), names: [first()] }],
    })
  })

  it('a failure leaves no file, and one that was there stays', async () => {
    await writeFile(file(), 'mine')
    const ran = await run(['save', '-o', file(), `${registry.host}/nothing:1`])
    expect(ran).toMatchObject({
      code: 1,
      stdout: '',
      stderr: `gantry: image "${`${registry.host}/nothing:1`}" is not here\n`,
    })
    expect(await readFile(file(), 'utf8')).toBe('mine')
    expect((await readdir(w.root)).filter((name) => name.includes('.part-'))).toEqual([])
    expect(await run(['save', '-o', `${w.root}/none/x.tar`, first()])).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^gantry: cannot write .*ENOENT/),
    })
  })

  it('neither writes an archive to a terminal nor reads one from it', async () => {
    const save = await cli.onTerminal(['save', first()]).ended
    expect(save.code).toBe(2)
    expect(save.stdout).toContain('save: an archive is nothing for a terminal')
    const load = await cli.onTerminal(['load']).ended
    expect(load.code).toBe(2)
    expect(load.stdout).toContain('load: nobody types an archive')
  })

  it('a reader that leaves early is a failure, and a full disk too', async () => {
    const ran = await cli.shell(
      `${cli.line(['save', first()])} | head -c 10 | wc -c; echo "\${PIPESTATUS[0]}"`,
    )
    expect(ran.stdout).toBe('10\n1\n')
    const full = await cli.shell(`${cli.line(['save', '-o', '/dev/full', first()])}`)
    expect(full).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^gantry: cannot write \/dev\/full: .*ENOSPC/),
    })
  })

  it('what is no archive is refused, and nothing is kept of it', async () => {
    const count = (await run(['images', '-q'])).stdout
    const ran = await run(['load'], 'this is no archive')
    expect(ran).toMatchObject({ code: 1, stdout: '', stderr: expect.stringMatching(/^gantry: /) })
    expect(await run(['load', '-i', `${w.root}/none.tar`])).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^gantry: cannot read .*none\.tar: ENOENT/),
    })
    expect((await run(['images', '-q'])).stdout).toBe(count)
  })
})

describe('gantry push', () => {
  it('an image under another name, which can be pulled from there and is the same', async () => {
    const target = `${registry.host}/pushed/second:2`
    const pushed = await run(['push', second(), target])
    expect(pushed.stdout).toMatch(new RegExp(`^${target}: sha256:[0-9a-f]{64}\n$`))
    expect(pushed.code).toBe(0)
    const id = await idOf(second())
    expect((await run(['pull', '-q', target])).stdout).toBe(`${id}\n`)
    expect((await run(['push', '-q', target])).stdout).toMatch(/^sha256:[0-9a-f]{64}\n$/)
    await run(['rmi', target])
  })

  it('to a registry that asks for credentials, with those from stdin, which are shown nowhere', async () => {
    const target = `${locked.host}/second:1`
    const without = await run(['push', second(), target])
    expect(without).toMatchObject({ code: 1, stdout: '' })
    const creds = `${registryUser.username}:${registryUser.password}`
    const pushed = await run(['push', '--json', '--creds-stdin', second(), target], creds)
    expect(JSON.parse(pushed.stdout)).toMatchObject({
      name: target,
      digest: expect.stringMatching(/^sha256:/),
    })
    expect(`${daemon.log.join('\n')}${pushed.stderr}${without.stderr}`).not.toContain(registryUser.password)
  })

  it('what is not here is no image to push', async () => {
    expect(await run(['push', 'nothing:1'])).toMatchObject({
      code: 1,
      stdout: '',
      stderr: expect.stringContaining('image "nothing:1" is not here'),
    })
  })
})

describe('gantry diff', () => {
  it('what a container has changed', async () => {
    const pod = await runPod(daemon.client, hostNetworkPod('diff', { logDirectory: w.logs }))
    try {
      const config = containerConfig('main', first(), { command: ['sleep', '1000'] })
      const id = await pod.start(config)
      await execSync(daemon.client, id, ['sh', '-c', 'echo x > /made; rm /bin/ls'])
      const ran = await run(['diff', 'diff/main'])
      expect(ran).toMatchObject({ code: 0, stderr: '' })
      expect(ran.stdout.split('\n')).toEqual(expect.arrayContaining(['A /made', 'D /bin/ls']))
      const json = JSON.parse((await run(['diff', '--json', 'default/diff/main'])).stdout)
      expect(json.entries).toContainEqual({ kind: 'added', path: '/made' })
      expect(await run(['diff', '--type=pod', 'diff'])).toMatchObject({
        code: 1,
        stderr: 'gantry: a pod has no files of its own: name one of its containers\n',
      })
    } finally {
      await pod.remove()
    }
  })

  it('what the topmost layer of an image changes', async () => {
    const ran = await run(['diff', second()])
    expect(ran).toMatchObject({ code: 0, stderr: '' })
    expect(ran.stdout).toMatch(/^A \/many\/\d+$/m)
    expect(await run(['diff', 'nothing'])).toMatchObject({ code: 1, stdout: '' })
  })
})

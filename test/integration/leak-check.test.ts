// SPDX-License-Identifier: Apache-2.0
/**
 * The leak check sees what it is for: one leak of each kind is made, reported by name, and taken away again.
 * And a workspace takes off the host whatever was left in it. A leak check that misses a kind would make all
 * other suites worthless.
 */
import { execFile } from 'node:child_process'
import { access, mkdir, mkdtemp, open, readFile, rm, rmdir, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { startChild, waitUntil } from '../support/child.ts'
import {
  cgroupDirs,
  cgroupMounts,
  firewallRules,
  mounts,
  parseMountinfo,
  processes,
} from '../support/host-view.ts'
import type { LeakScope } from '../support/leak-check.ts'
import { expectNoLeaks, leaksSince, snapshot } from '../support/leak-check.ts'
import { makeWorkspace, splitWords, tomlOf } from '../support/workspace.ts'

const run = promisify(execFile)
let root: string
let id: string

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'gt-'))
  id = `gt-${root.slice(-6)}`
})
afterEach(() => rm(root, { recursive: true, force: true }))

const scope = (more: Partial<LeakScope> = {}): LeakScope => ({
  roots: [root],
  linkPrefixes: [id],
  programs: [],
  ...more,
})

/** Seeds a leak and expects exactly that to be named; takes it away and expects silence. */
async function seeded(
  what: LeakScope,
  leak: {
    readonly make: () => Promise<() => Promise<unknown>>
    readonly kind: string
    readonly name: RegExp
  },
): Promise<void> {
  const before = await snapshot(what)
  expect(await leaksSince(before)).toEqual([])
  const undo = await leak.make()
  try {
    const found = await leaksSince(before)
    expect(found.map((l) => l.kind)).toContain(leak.kind)
    for (const l of found) expect([l.kind, l.name]).toEqual([leak.kind, expect.stringMatching(leak.name)])
    await expect(expectNoLeaks(before, { withinMs: 100 })).rejects.toThrow(leak.name)
  } finally {
    await undo()
  }
  await expectNoLeaks(before)
}

describe('each kind is seen', () => {
  it('a mount under the root', async () => {
    const dir = join(root, 'mnt')
    await mkdir(dir)
    await seeded(scope(), {
      kind: 'mount',
      name: /\/mnt \(tmpfs/,
      make: async () => {
        await run('mount', ['-t', 'tmpfs', 'none', dir])
        return () => run('umount', [dir])
      },
    })
  })

  it('a mount elsewhere that is named after the project', async () => {
    const elsewhere = await mkdtemp('/mnt/gt-')
    await seeded(scope(), {
      kind: 'mount',
      name: /gantry-test/,
      make: async () => {
        await run('mount', ['-t', 'tmpfs', 'gantry-test', elsewhere])
        return () => run('umount', [elsewhere])
      },
    })
    await rm(elsewhere, { recursive: true })
  })

  it('a pinned network namespace, wherever it is', async () => {
    await mkdir('/run/netns', { recursive: true })
    const pin = join('/run/netns', id)
    await writeFile(pin, '')
    await seeded(scope(), {
      kind: 'namespace',
      name: /\/run\/netns\/gt-\w+ \(nsfs net:/,
      make: async () => {
        await run('unshare', ['--net', '--', 'mount', '--bind', '/proc/self/ns/net', pin])
        return () => run('umount', [pin])
      },
    }).finally(() => rm(pin, { force: true }))
  })

  it('a link, by prefix or any', async () => {
    const make = async (): Promise<() => Promise<unknown>> => {
      await run('ip', ['link', 'add', id, 'type', 'bridge'])
      return () => run('ip', ['link', 'delete', id])
    }
    await seeded(scope(), { kind: 'link', name: new RegExp(id), make })
    const { linkPrefixes: _, ...any } = scope()
    const before = await snapshot(any)
    const undo = await make()
    expect(await leaksSince(before)).toContainEqual({ kind: 'link', name: id })
    await undo()
    const staying = await snapshot(scope({ stayingLinks: [id] }))
    const undoAgain = await make()
    expect(await leaksSince(staying)).toEqual([])
    await undoAgain()
  })

  it('a firewall rule that is marked', async () => {
    const rule = [
      'POSTROUTING',
      '-s',
      '203.0.113.0/24',
      '-m',
      'comment',
      '--comment',
      `name: "${id}" id: "x"`,
      '-j',
      'RETURN',
    ]
    await seeded(scope({ ruleMarks: [id] }), {
      kind: 'rule',
      name: /iptables -t nat -A POSTROUTING .*203\.0\.113/,
      make: async () => {
        await run('iptables', ['-w', '-t', 'nat', '-A', ...rule])
        return () => run('iptables', ['-w', '-t', 'nat', '-D', ...rule])
      },
    })
  })

  it('a cgroup below the subtree, in each hierarchy', async () => {
    const subtree = `/${id}`
    const parents = (await cgroupMounts()).map((m) => join(m, id))
    const before = await snapshot(scope({ cgroups: [subtree] }))
    for (const parent of parents) await mkdir(join(parent, 'pod'), { recursive: true })
    const found = await leaksSince(before)
    expect(found.map((l) => l.name).sort()).toEqual(parents.map((p) => join(p, 'pod')).sort())
    for (const dir of await cgroupDirs(subtree)) await rmdir(dir)
    await expectNoLeaks(before)
  })

  it('a process that names the root, in argv or environment', async () => {
    for (const start of [
      () => startChild('sh', ['-c', 'sleep 60; :', join(root, 'x')]),
      () => startChild('sleep', ['60'], { env: { PATH: process.env.PATH, WHERE: root } }),
    ])
      await seeded(scope(), {
        kind: 'process',
        name: /\((?:sh|sleep|setpriv), started at tick \d+\)/,
        make: async () => {
          const child = await start()
          await waitUntil(
            'it runs',
            async () => (await readFile(`/proc/${child.pid}/comm`, 'utf8')) !== 'setpriv\n',
            { withinMs: 2000 },
          )
          return async () => {
            for (const p of await processes()) if (p.ppid === child.pid) process.kill(p.pid, 'SIGKILL')
            await child.end()
          }
        },
      })
  })

  it('a process of a watched program, whatever it names', async () => {
    // A copy of its own: others on the machine sleep too.
    const program = join(root, 'sleep')
    await run('cp', ['/bin/sleep', program])
    await seeded(scope({ programs: [program] }), {
      kind: 'process',
      name: /\(sleep/,
      make: async () => {
        const child = await startChild(program, ['60'])
        await waitUntil(
          'it runs',
          async () => (await readFile(`/proc/${child.pid}/comm`, 'utf8')) === 'sleep\n',
          { withinMs: 2000 },
        )
        return () => child.end()
      },
    })
  })

  it('a descriptor of the daemon', async () => {
    const path = join(root, 'file')
    await writeFile(path, '')
    await seeded(scope({ daemonPid: process.pid }), {
      kind: 'fd',
      name: /\/file: 1 open, 0 before/,
      make: async () => {
        const handle = await open(path)
        return () => handle.close()
      },
    })
  })

  it('a file, unless it may appear', async () => {
    const dir = join(root, 'files')
    await mkdir(join(dir, 'deep'), { recursive: true })
    const path = join(dir, 'deep/new')
    await seeded(scope({ fileRoots: [dir], ignoreFiles: /\/blobs(?:\/|$)/ }), {
      kind: 'file',
      name: /\/deep\/new$/,
      make: async () => {
        await mkdir(join(dir, 'blobs'))
        await writeFile(join(dir, 'blobs/one'), '')
        await writeFile(path, '')
        return () => rm(path)
      },
    })
  })

  it('what is in the folder of another test is not ours', async () => {
    const other = await mkdtemp(join(tmpdir(), 'gt-other-'))
    const bridge = `gto${id.slice(3)}b`
    const before = await snapshot({ roots: [root], programs: ['/usr/bin/sleep', '/bin/sleep'] })
    const child = await startChild('sleep', ['60'], { env: { PATH: process.env.PATH, WHERE: other } })
    await run('mount', ['-t', 'tmpfs', 'gantry', other])
    await run('ip', ['link', 'add', bridge, 'type', 'bridge'])
    await run('ip', ['link', 'add', id, 'type', 'bridge'])
    try {
      expect(await leaksSince(before)).toEqual([{ kind: 'link', name: id }])
    } finally {
      await child.end()
      await run('umount', [other])
      for (const link of [bridge, id]) await run('ip', ['link', 'delete', link])
      await rm(other, { recursive: true })
    }
  })

  it('something that ends within the time is no leak', async () => {
    const before = await snapshot(scope())
    const child = await startChild('sleep', ['0.3'], { env: { PATH: process.env.PATH, WHERE: root } })
    expect((await leaksSince(before)).length).toBe(1)
    await expectNoLeaks(before)
    await child.exited
  })
})

describe('a workspace', () => {
  it('is its own root, network and names, and leaves nothing', async () => {
    const w = await makeWorkspace({ config: { 'log.format': '"text"' } })
    const all = await snapshot({ roots: [w.root] })
    const before = await snapshot(w.leakScope())
    try {
      expect(w.root).toMatch(/^\/tmp\/gt-\w{6}$/)
      expect(await readFile(w.configFile, 'utf8')).toContain('[log]\nlevel = "debug"\nformat = "text"\n')
      expect(JSON.parse(await readFile(join(w.cniConf, '10-test.conflist'), 'utf8'))).toMatchObject({
        name: w.name,
      })
      expect(w.bridge.length).toBeLessThan(16)
      await mkdir(join(w.run, 'mnt'))
      await run('mount', ['-t', 'tmpfs', 'none', join(w.run, 'mnt')])
      await run('ip', ['link', 'add', w.bridge, 'type', 'bridge'])
      const chain = `CNI-${w.name}`
      const comment = ['-m', 'comment', '--comment', `name: "${w.name}" id: "x"`]
      await run('iptables', ['-w', '-t', 'nat', '-N', chain])
      await run('iptables', ['-w', '-t', 'nat', '-A', chain, '-d', w.subnet, ...comment, '-j', 'ACCEPT'])
      await run('iptables', ['-w', '-t', 'nat', '-A', 'POSTROUTING', '-s', w.subnet, ...comment, '-j', chain])
      for (const parent of await cgroupMounts()) await mkdir(join(parent, w.name, 'pod'), { recursive: true })
      await startChild('sleep', ['60'], { env: { PATH: process.env.PATH, WHERE: w.root } })
      const kinds = new Set((await leaksSince(before)).map((l) => l.kind))
      expect([...kinds].sort()).toEqual(['cgroup', 'mount', 'process', 'rule'])
    } finally {
      await w.remove()
    }
    await expectNoLeaks(before)
    await expectNoLeaks(all)
    expect((await firewallRules()).filter((r) => r.includes(w.name))).toEqual([])
    await w.remove()
  }, 30_000)

  it('that a killed test left is cleared up by the next', async () => {
    const script = `
      import { spawn } from 'node:child_process'
      import { makeWorkspace } from ${JSON.stringify(join(import.meta.dirname, '../support/workspace.ts'))}
      const w = await makeWorkspace()
      spawn('sleep', ['60'], { env: { PATH: process.env.PATH, WHERE: w.root }, stdio: 'ignore', detached: true })
      console.log(w.root)
      process.kill(process.pid, 'SIGKILL')`
    const file = join(root, 'killed.ts')
    await writeFile(file, script)
    const killed = await startChild(process.execPath, [file])
    expect((await killed.exited).signal).toBe('SIGKILL')
    const left = killed.lines.find((l) => l.startsWith('/tmp/gt-')) ?? ''
    const naming = async (): Promise<number> =>
      (await processes()).filter((p) => p.text.includes(left)).length
    expect([left, await naming()]).toEqual([expect.stringMatching(/^\/tmp\/gt-\w{6}$/), 1])
    const next = await makeWorkspace()
    await next.remove()
    expect([await naming(), await access(left).catch((e: unknown) => String(e))]).toEqual([
      0,
      expect.stringContaining('ENOENT'),
    ])
  }, 30_000)

  it('gives another subnet to each', async () => {
    const both = await Promise.all([makeWorkspace(), makeWorkspace()])
    expect(new Set(both.map((w) => w.subnet)).size).toBe(2)
    for (const w of both) await w.remove()
  })
})

describe('reading', () => {
  it('mountinfo with optional fields and escapes', () => {
    const line =
      '36 35 98:0 /a\\040b /mnt\\011x rw,noatime shared:1 master:2 - ext3 /dev/root rw,errors=continue\nbroken'
    expect(parseMountinfo(line)).toEqual([
      {
        root: '/a b',
        mountPoint: '/mnt\tx',
        fsType: 'ext3',
        source: '/dev/root',
        superOptions: 'rw,errors=continue',
      },
    ])
  })

  it('this host, where the root file system is mounted', async () => {
    expect((await mounts()).some((m) => m.mountPoint === '/')).toBe(true)
  })

  it('rules into words', () => {
    expect(splitWords('-A X --comment "name: \\"a\\" id" -j Y')).toEqual([
      '-A',
      'X',
      '--comment',
      'name: "a" id',
      '-j',
      'Y',
    ])
  })

  it('settings into TOML', () => {
    expect(tomlOf({ 'a.b': '1', c: '2', 'a.d': '3', 'r.x.kind': '"k"' })).toBe(
      'c = 2\n\n[a]\nb = 1\nd = 3\n\n[r.x]\nkind = "k"\n',
    )
  })
})

// SPDX-License-Identifier: Apache-2.0
/**
 * Who may talk to the daemon and how much at once: modes and owners of what it makes, the peer of each connection,
 * messages that are too large, a second daemon, a socket that belongs to somebody else.
 */
import { execFile } from 'node:child_process'
import { chmod, mkdir, rmdir, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startChild } from '../support/child.ts'
import { type Daemon, startDaemon } from '../support/daemon.ts'
import { expectNoLeaks, type Snapshot, snapshot } from '../support/leak-check.ts'
import { refusalOf } from '../support/scenario-refusal.ts'
import { makeWorkspace, tomlOf, type Workspace } from '../support/workspace.ts'

const program = join(dirname(fileURLToPath(import.meta.url)), '../../bin/gantryd')
const MiB = 1024 * 1024
/** A group that no user of this machine is in. */
const group = 54_321

let w: Workspace
let before: Snapshot
let daemon: Daemon

beforeAll(async () => {
  w = await makeWorkspace()
  await rmdir(w.state) // the daemon makes it, with the mode that it should have
  before = await snapshot(w.leakScope())
  daemon = await startDaemon(w)
})
afterAll(async () => {
  try {
    await daemon?.stop()
    if (before !== undefined) await expectNoLeaks(before)
  } finally {
    await w?.remove()
  }
})

const modeOf = async (path: string): Promise<string> => {
  const { mode, uid, gid } = await stat(path)
  return `${(mode & 0o7777).toString(8)} ${uid}:${gid}`
}

/** Connects as the user and groups given, greets as HTTP/2 does, and tells how many bytes came back. */
async function bytesFor(options: readonly string[]): Promise<number> {
  const script = `
    use IO::Socket::UNIX;
    my $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or do { print -1; exit };
    $SIG{PIPE} = 'IGNORE'; $s->autoflush(1);
    print $s "PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n\\0\\0\\0\\4\\0\\0\\0\\0\\0";
    my $n = sysread($s, my $got, 100); print $n // 0;`
  const args = [...options, '--', 'perl', '-e', script, w.socket]
  const { stdout } = await promisify(execFile)('setpriv', args, { timeout: 20_000 })
  return Number(stdout)
}

/** Starts a daemon that has to refuse, and gives its exit code and what it said. */
async function refused(
  config: Readonly<Record<string, string>>,
): Promise<{ code: number | null; said: string }> {
  const file = join(w.root, `other-${Math.random().toString(36).slice(2)}.toml`)
  await writeFile(file, tomlOf(config))
  const child = await startChild(program, ['--config', file], { env: { PATH: process.env.PATH } })
  try {
    const { code } = await child.exited
    return { code, said: child.tail() }
  } finally {
    await child.end()
  }
}

const quoted = (s: string): string => JSON.stringify(s)

describe('what the daemon makes', () => {
  it('the socket is 0660 root:root', async () => {
    expect(await modeOf(w.socket)).toBe('660 0:0')
  })

  it('the folders of state are 0700, but for those that the root of a user namespace passes through', async () => {
    for (const dir of ['', '/pods', '/containers', '/trash', '/layers', '/images'])
      expect([dir, await modeOf(`${w.state}${dir}`)]).toEqual([dir, '700 0:0'])
    for (const dir of ['/oci', '/oci/runc'])
      expect([dir, await modeOf(`${w.run}${dir}`)]).toEqual([dir, '700 0:0'])
    for (const dir of ['/pods', '/containers'])
      expect([dir, await modeOf(`${w.run}${dir}`)]).toEqual([dir, '711 0:0'])
  })
})

describe('the peer', () => {
  const nobody = ['--reuid', '65534', '--regid', '65534']

  it('that is not root is refused, also when the mode of the socket lets it in', async () => {
    await chmod(w.root, 0o755)
    await chmod(w.run, 0o755)
    try {
      expect(await bytesFor([])).toBeGreaterThan(0)
      expect(await bytesFor([...nobody, '--clear-groups'])).toBe(-1)
      await chmod(w.socket, 0o666)
      expect(await bytesFor([...nobody, '--clear-groups'])).toBe(0)
      expect(await bytesFor([])).toBeGreaterThan(0)
      expect(daemon.events('peer-refused')).toMatchObject([{ uid: 65534, gid: 65534 }])
    } finally {
      await chmod(w.socket, 0o660)
      await chmod(w.root, 0o700)
    }
  })

  it('of the configured group is let in, by its first group or another', async () => {
    await daemon.restart({ flags: ['--socket-group', String(group)] })
    await chmod(w.root, 0o755)
    try {
      expect(await modeOf(w.socket)).toBe(`660 0:${group}`)
      expect(
        await bytesFor(['--reuid', '65534', '--regid', String(group), '--clear-groups']),
      ).toBeGreaterThan(0)
      expect(await bytesFor([...nobody, '--groups', String(group)])).toBeGreaterThan(0)
      await chmod(w.socket, 0o666)
      expect(await bytesFor([...nobody, '--clear-groups'])).toBe(0)
    } finally {
      await chmod(w.root, 0o700)
      await daemon.restart({})
    }
  })
})

describe('a message', () => {
  const versionOf = (bytes: number) => daemon.client.call('Version', { version: 'x'.repeat(bytes) })

  it('of more than 80 MiB is RESOURCE_EXHAUSTED, and the daemon goes on', async () => {
    const { pid } = daemon
    expect((await refusalOf(versionOf(81 * MiB))).code).toBe('RESOURCE_EXHAUSTED')
    expect((await daemon.client.call('Version', {})).runtimeName).toBe('gantry')
    expect(daemon.pid).toBe(pid)
  })

  it('of less is taken', async () => {
    expect((await versionOf(79 * MiB)).runtimeName).toBe('gantry')
  })
})

describe('a second daemon', () => {
  it('on the same root is refused in a sentence, and the first goes on', async () => {
    const run = join(w.root, 'run2')
    const { code, said } = await refused({ root: quoted(w.state), run_dir: quoted(run) })
    expect(code).not.toBe(0)
    expect(said).toContain(`another gantryd is running on ${w.state}`)
    expect((await daemon.client.call('Version', {})).runtimeName).toBe('gantry')
  })

  it('on the same run folder, or the same socket, too', async () => {
    const root = join(w.root, 'state2')
    const sameRun = { root: quoted(root), run_dir: quoted(w.run), socket: quoted(join(w.root, 'x.sock')) }
    expect((await refused(sameRun)).said).toContain(`another gantryd is running on ${w.run}`)
    const sameSocket = { root: quoted(root), run_dir: quoted(join(w.root, 'run3')), socket: quoted(w.socket) }
    const { code, said } = await refused(sameSocket)
    expect([code === 0, said]).toEqual([false, expect.stringContaining(`is serving ${w.socket}`)])
    expect((await daemon.client.call('Version', {})).runtimeName).toBe('gantry')
    expect(await modeOf(w.socket)).toBe('660 0:0')
  })

  it('leaves the socket of another program alone', async () => {
    const socket = join(w.root, 'busy.sock')
    const other = createServer((c) => c.on('error', () => {}).end('mine'))
    await new Promise<void>((resolve) => other.listen(socket, resolve))
    try {
      await mkdir(join(w.root, 'run4'))
      const config = {
        root: quoted(join(w.root, 'state4')),
        run_dir: quoted(join(w.root, 'run4')),
        socket: quoted(socket),
      }
      expect((await refused(config)).said).toContain(`another program is serving ${socket}`)
      expect((await stat(socket)).isSocket()).toBe(true)
    } finally {
      await new Promise((resolve) => other.close(resolve))
    }
  })
})

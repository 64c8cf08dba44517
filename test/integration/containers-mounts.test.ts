// SPDX-License-Identifier: Apache-2.0
/**
 * Mounts and devices of containers: read-only and recursively so, propagation in its three forms, sources that are
 * links or missing, order and nesting; device nodes and their rules. What is asked for and cannot be is refused
 * with the path in the message.
 */
import { execFile } from 'node:child_process'
import { mkdir, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { RunningPod } from '../support/cri-requests.ts'
import { mounts } from '../support/host-view.ts'
import { expectNoLeaks } from '../support/leak-check.ts'
import { type Scenario, startScenario } from '../support/scenario.ts'
import { refusalOf } from '../support/scenario-refusal.ts'
import { kept, ran } from '../support/scenario-run.ts'

const run = promisify(execFile)
const propagation = { private: 0, hostToContainer: 1, bidirectional: 2 } as const

let s: Scenario
let pod: RunningPod
/** A tmpfs that is shared, with a folder in it: what a node's / is on most machines. */
let shared: string

beforeAll(async () => {
  s = await startScenario()
  pod = await s.pod('mounts', { privileged: true })
  shared = join(s.workspace.root, 'shared')
  await mkdir(shared)
  await run('mount', ['-t', 'tmpfs', 'gt-shared', shared])
  await run('mount', ['--make-shared', shared])
})
afterAll(() =>
  s?.end(async (before) => {
    await run('umount', ['-R', shared])
    await expectNoLeaks(before)
  }),
)

async function folder(name: string, content = 'content\n'): Promise<string> {
  const path = join(s.workspace.root, 'src', name)
  await mkdir(path, { recursive: true })
  await writeFile(join(path, 'file'), content)
  return path
}
const at = (hostPath: string, containerPath: string, more = {}) => ({ hostPath, containerPath, ...more })

describe('a mount', () => {
  it('shows a folder, or a file, of the node, and writes go through', async () => {
    const dir = await folder('plain')
    const { stdout } = await ran(s, pod, 'cat /data/file /one; echo new >/data/made; id -u', {
      mounts: [at(dir, '/data'), at(join(dir, 'file'), '/one')],
    })
    expect(stdout).toBe('content\ncontent\n0\n')
    expect(await readFile(join(dir, 'made'), 'utf8')).toBe('new\n')
  })

  it('that is read-only stays so, but what is mounted below it may be written', async () => {
    const dir = await folder('ro')
    await mkdir(join(dir, 'sub'))
    await run('mount', ['-t', 'tmpfs', 'gt-sub', join(dir, 'sub')])
    try {
      const script = 'echo x >/data/file; echo $?; echo x >/data/sub/file; echo $?'
      const { stdout, stderr } = await ran(s, pod, script, { mounts: [at(dir, '/data', { readonly: true })] })
      expect(stdout).toBe('1\n0\n')
      expect(stderr).toContain('Read-only file system')
      const recursive = { readonly: true, recursiveReadOnly: true }
      const { runtimeHandlers } = await s.client.call('Status', {})
      const offered = runtimeHandlers?.find((h) => h.name === 'runc')?.features?.recursiveReadOnlyMounts
      if (offered === true)
        expect((await ran(s, pod, script, { mounts: [at(dir, '/data', recursive)] })).stdout).toBe('1\n1\n')
      else
        expect(await refusalOf(ran(s, pod, script, { mounts: [at(dir, '/data', recursive)] }))).toMatchObject(
          {
            code: 'UNIMPLEMENTED',
            details: expect.stringContaining('/data'),
          },
        )
    } finally {
      await run('umount', [join(dir, 'sub')])
    }
  })

  it('recursive_read_only with a contradiction is refused', async () => {
    const dir = join(shared, 'rro')
    await mkdir(dir)
    for (const more of [
      { recursiveReadOnly: true },
      { recursiveReadOnly: true, readonly: true, propagation: propagation.hostToContainer },
    ])
      expect((await refusalOf(kept(s, pod, { mounts: [at(dir, '/data', more)] }))).details).toMatch(
        /mount at \/data: recursive_read_only/,
      )
  })

  it('follows a link at its source, makes a missing source, and refuses a link to nothing or to itself', async () => {
    const dir = await folder('linked')
    const base = join(s.workspace.root, 'src')
    await symlink(dir, join(base, 'link'))
    await symlink(join(base, 'nowhere'), join(base, 'dangling'))
    await symlink(join(base, 'loop'), join(base, 'loop'))
    const missing = join(base, 'missing/deep')
    const { stdout } = await ran(s, pod, 'cat /link/file; ls -d /made', {
      mounts: [at(join(base, 'link'), '/link'), at(missing, '/made')],
    })
    expect(stdout).toBe('content\n/made\n')
    expect((await stat(missing)).mode & 0o7777).toBe(0o755)
    for (const name of ['dangling', 'loop', 'link/file/below'])
      expect(await refusalOf(kept(s, pod, { mounts: [at(join(base, name), '/x')] }))).toMatchObject({
        code: 'INVALID_ARGUMENT',
        details: expect.stringContaining(name),
      })
  })

  it('over another comes after it, in whatever order they are given', async () => {
    const [outer, inner] = [await folder('outer', 'outer\n'), await folder('inner', 'inner\n')]
    await mkdir(join(outer, 'deep'))
    const { stdout } = await ran(s, pod, 'cat /a/file /a/deep/file', {
      mounts: [at(inner, '/a/deep'), at(outer, '/a')],
    })
    expect(stdout).toBe('outer\ninner\n')
  })

  it('replaces a file that the pod brings along', async () => {
    const dir = await folder('hosts', '192.0.2.1 mine\n')
    const { stdout } = await ran(s, pod, 'cat /etc/hosts', { mounts: [at(join(dir, 'file'), '/etc/hosts')] })
    expect(stdout).toBe('192.0.2.1 mine\n')
  })

  it('takes the place of the pod’s shared memory', async () => {
    const dir = await folder('memory')
    await run('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'gt-memory', dir])
    try {
      const script = "echo x >/dev/shm/mine; df -k /dev/shm | awk 'NR == 2 { print $2 }'"
      expect((await ran(s, pod, script, { mounts: [at(dir, '/dev/shm')] })).stdout).toBe('1024\n')
      expect(await readFile(join(dir, 'mine'), 'utf8')).toBe('x\n')
      expect((await ran(s, pod, 'ls /dev/shm')).stdout).toBe('')
    } finally {
      await run('umount', [dir])
    }
  })

  it('cannot be led out of the rootfs by a link in the image', async () => {
    const dir = await folder('escape')
    const outside = join(s.workspace.root, 'outside')
    await mkdir(outside)
    // The writable layer of one container cannot be reached by another: the link is made by a mount.
    const trap = await folder('trap')
    await symlink(outside, join(trap, 'way-out'))
    await ran(s, pod, 'true', { mounts: [at(trap, '/trap'), at(dir, '/trap/way-out/in')] }).catch(
      () => undefined,
    )
    expect(await stat(join(outside, 'in')).catch(() => undefined)).toBeUndefined()
  })
})

describe('propagation', () => {
  const source = async (name: string): Promise<string> => {
    const dir = join(shared, name)
    await mkdir(dir)
    return dir
  }
  const mountInside = (dir: string) => run('mount', ['-t', 'tmpfs', 'gt-inside', dir])

  it('private: a later mount on the node is not seen', async () => {
    const dir = await source('private')
    await mkdir(join(dir, 'sub'))
    const c = await kept(s, pod, { mounts: [at(dir, '/data')] })
    await mountInside(join(dir, 'sub'))
    expect(await c.sh('grep -c gt-inside /proc/self/mountinfo || true')).toBe('0\n')
    await run('umount', [join(dir, 'sub')])
  })

  it('host to container: it is seen, and a mount in the container is not seen outside', async () => {
    const dir = await source('slave')
    await mkdir(join(dir, 'sub'))
    await mkdir(join(dir, 'own'))
    const c = await kept(s, pod, {
      mounts: [at(dir, '/data', { propagation: propagation.hostToContainer })],
      linux: { securityContext: { privileged: true } },
    })
    await mountInside(join(dir, 'sub'))
    expect(await c.sh('grep -c "/data/sub " /proc/self/mountinfo')).toBe('1\n')
    await c.sh('mount -t tmpfs gt-own /data/own')
    expect((await mounts()).filter((m) => m.source === 'gt-own')).toEqual([])
    await run('umount', [join(dir, 'sub')])
  })

  it('bidirectional: a mount in the container is seen on the node', async () => {
    const dir = await source('both')
    await mkdir(join(dir, 'own'))
    const c = await kept(s, pod, {
      mounts: [at(dir, '/data', { propagation: propagation.bidirectional })],
      linux: { securityContext: { privileged: true } },
    })
    await c.sh('mount -t tmpfs gt-own /data/own')
    expect((await mounts()).filter((m) => m.source === 'gt-own').map((m) => m.mountPoint)).toEqual([
      join(dir, 'own'),
    ])
    await c.sh('umount /data/own')
    expect((await mounts()).filter((m) => m.source === 'gt-own')).toEqual([])
  })

  it('from a source that is not shared is refused, with the path and the remedy', async () => {
    const dir = await folder('not-shared')
    await run('mount', ['--bind', dir, dir])
    await run('mount', ['--make-private', dir])
    try {
      for (const kind of [propagation.bidirectional, propagation.hostToContainer])
        expect(
          await refusalOf(kept(s, pod, { mounts: [at(dir, '/data', { propagation: kind })] })),
        ).toMatchObject({
          code: 'INVALID_ARGUMENT',
          details: expect.stringContaining(`mount --make-rshared ${dir}`),
        })
    } finally {
      await run('umount', [dir])
    }
  })
})

describe('devices', () => {
  const knows = 'ls -l /dev/mine | cut -c1; dd if=/dev/mine bs=1 count=1 2>/dev/null | wc -c'

  it('that are asked for are there under the name asked for, with the rights asked for', async () => {
    const device = (permissions: string) => [
      { hostPath: '/dev/zero', containerPath: '/dev/mine', permissions },
    ]
    expect((await ran(s, pod, knows, { devices: device('rwm') })).stdout).toBe('c\n1\n')
    const writable = 'echo x >/dev/mine; echo $?'
    expect((await ran(s, pod, writable, { devices: device('rw') })).stdout).toBe('0\n')
  })

  it('that are not asked for cannot be used', async () => {
    // 1:11 is the kernel's log, which no container has by itself.
    const script = 'mknod /tmp/kmsg c 1 11 && dd if=/tmp/kmsg bs=1 count=1; echo $?'
    const { stdout, stderr } = await ran(s, pod, script)
    expect([stdout, stderr]).toEqual(['1\n', expect.stringContaining('Operation not permitted')])
  })

  it('are those that a link leads to, and all that are below a folder', async () => {
    const dir = join(s.workspace.root, 'nodes')
    await mkdir(join(dir, 'sub'), { recursive: true })
    await run('mknod', ['-m', '640', join(dir, 'sub/one'), 'c', '10', '237'])
    await run('mknod', [join(dir, 'two'), 'c', '1', '3'])
    await symlink('/dev/full', join(dir, 'link'))
    await writeFile(join(dir, 'file'), '')
    const devices = [
      { hostPath: dir, containerPath: '/dev/all', permissions: 'r' },
      { hostPath: join(dir, 'link'), containerPath: '', permissions: '' },
    ]
    const { stdout } = await ran(
      s,
      pod,
      `find /dev/all -type c | sort; stat -c %a:%t:%T /dev/all/sub/one; stat -c %t:%T ${dir}/link; find ${dir}; true </dev/all/sub/one && echo read; true >/dev/all/sub/one || echo no`,
      { devices },
    )
    expect(stdout).toBe(`/dev/all/sub/one\n/dev/all/two\n640:a:ed\n1:7\n${dir}\n${dir}/link\nread\nno\n`)
  })

  it('have the name asked for in a user namespace too', async () => {
    const ids = [{ hostId: 700_000, containerId: 0, length: 65_536 }]
    const mapped = await s.pod('mapped-devices', { bridged: true, userns: { mode: 0, uids: ids, gids: ids } })
    const devices = ['/dev/vendor/mine', '/dev/kmsg', '/dev/zero'].map((containerPath) => ({
      hostPath: '/dev/zero',
      containerPath,
      permissions: 'rwm',
    }))
    const script =
      'for d in /dev/vendor/mine /dev/kmsg /dev/zero; do stat -c %t:%T $d; head -c 1 $d | wc -c; done'
    expect((await ran(s, mapped, script, { devices })).stdout).toBe('1:5\n1\n'.repeat(3))
    await mapped.remove()
  })

  it('that do not exist are refused by name', async () => {
    const dir = join(s.workspace.root, 'no-devices')
    await mkdir(dir)
    await symlink('loop', join(dir, 'loop'))
    for (const hostPath of ['/dev/no-such', '/dev/null/below', join(dir, 'loop'), dir]) {
      const devices = [{ hostPath, containerPath: '/dev/x', permissions: 'rwm' }]
      const { code, details } = await refusalOf(kept(s, pod, { devices }))
      expect([code, details]).toEqual([
        'INVALID_ARGUMENT',
        expect.stringContaining(`device ${hostPath} is no`),
      ])
    }
  })

  it('are all there for a privileged container', async () => {
    const { stdout } = await ran(
      s,
      pod,
      'ls /dev | tr "\\n" " "; mkdir -p /mnt && mount -t tmpfs x /mnt && echo mounted',
      {
        linux: { securityContext: { privileged: true } },
      },
    )
    const here = (await readdir('/dev', { withFileTypes: true })).filter((d) => d.isCharacterDevice())
    for (const { name } of here.filter((d) => d.name !== 'console'))
      expect(` ${stdout}`).toContain(` ${name} `)
    expect(stdout).toContain('mounted')
  })
})

describe('the rootfs', () => {
  it('is writable, and a container’s own', async () => {
    const one = await kept(s, pod)
    await one.sh('echo mine >/etc/own; rm /bin/ls')
    const { stdout } = await ran(s, pod, 'ls -d /bin/ls; cat /etc/own || echo none')
    expect(stdout).toBe('/bin/ls\nnone\n')
  })

  it('is read-only when asked for, with what is mounted still writable', async () => {
    const dir = await folder('in-ro')
    const { stdout } = await ran(
      s,
      pod,
      'echo x >/x; echo $?; echo x >/data/x; echo $?; echo x >/dev/shm/x; echo $?',
      {
        mounts: [at(dir, '/data')],
        linux: { securityContext: { readonlyRootfs: true } },
      },
    )
    expect(stdout).toBe('1\n0\n0\n')
    await rm(join(dir, 'x'))
  })

  it('is read-only with files of the node at places that the image does not have, and the pod’s files are so too', async () => {
    const dir = await folder('messages', '')
    const { stdout } = await ran(
      s,
      pod,
      'echo why >/dev/termination-log; echo why >/no/such/folder/log; for f in resolv.conf hosts hostname; do echo x >>/etc/$f; echo $?; done',
      {
        mounts: [at(join(dir, 'file'), '/dev/termination-log'), at(join(dir, 'file'), '/no/such/folder/log')],
        linux: { securityContext: { readonlyRootfs: true } },
      },
    )
    expect(stdout).toBe('1\n1\n1\n')
    expect(await readFile(join(dir, 'file'), 'utf8')).toBe('why\n')
  })
})

// SPDX-License-Identifier: Apache-2.0
/**
 * A program, not a test: calls members of the addon many times, in success and in failure, and ends. Run by
 * addon-asan.sh under LeakSanitizer, which names what the addon lost.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { loadNative } from '../../src/host/native.ts'

const native = loadNative(process.env.GANTRY_TEST_ADDON ?? '')
const root = mkdtempSync(join(tmpdir(), 'gt-addon-leaks-'))
const ignore = () => undefined

async function round(i: number): Promise<void> {
  const dir = join(root, `${i}`)
  mkdirSync(join(dir, 'tree/a/b'), { recursive: true })
  writeFileSync(join(dir, 'tree/a/f'), 'x')
  await new Promise<void>((resolve) =>
    native.spawn({ file: '/bin/true', argv: ['true'], env: ['A=b'], fds: [-1] }, () => resolve()),
  )
  for (const file of ['/gt-no', 'bad'])
    try {
      native.spawn({ file, argv: ['x'], env: [], fds: [] }, ignore)
    } catch {}
  const net = join(dir, 'net')
  await native.createNamespaces({ net, loopback: true })
  native.close(await native.socketInNetns(net, 6))
  await native.socketInNetns(dir, 4).catch(ignore)
  const link = await native.socketInNetns(net, 0)
  const procs = '/proc/self/cgroup'
  const limits = { stallMs: 5, deadlineMs: 100 }
  await native.readGroups([{ key: 'x', paths: ['/proc/self/stat', '/gt-no'], link, procs }], limits)
  await native
    .readGroups(
      [
        { key: 'x', paths: [], link },
        { key: 'y', paths: ['no'] },
      ],
      limits,
    )
    .catch(ignore)
  native.close(link)
  await native.unpinNamespace(net)
  await native.createNamespaces({ net, sysctls: [['/proc/sys/gt-no', '1']] }).catch(ignore)
  const user = { user: join(dir, 'user'), uidMap: '0 1000 10', gidMap: '0 1000 10' }
  await native.createNamespaces({ net, ...user, loopback: true })
  for (const pin of [net, user.user]) await native.unpinNamespace(pin)
  await native.createNamespaces({ net, ...user, uidMap: 'no' }).catch(ignore)
  await native.mountOverlay({ lower: [join(dir, 'tree'), '/usr'], target: dir })
  await native.umount(dir, true)
  await native.mountOverlay({ lower: [join(dir, 'no'), '/usr'], target: dir }).catch(ignore)
  await native.bind({ source: '/usr', target: dir, propagation: 'bad' as never }).catch(ignore)
  native.readMany(['/proc/self/stat', '/gt-no'])
  native.mkdirInRoot(dir, 'x/y/z', 0o755)
  native.readInRoot(dir, 'tree/a/f', 10)
  try {
    native.readInRoot(dir, 'tree/a', 10)
  } catch {}
  const [a, b] = native.socketpair()
  native.sendFds(a, Buffer.from('x'), [a, b])
  for (const fd of [a, b, ...(native.recvFds(b, 10)?.fds ?? [])]) native.close(fd)
  await native.treeUsage(dir)
  await native.removeTree(dir)
}

for (let i = 0; i < 30; i++) await round(i)
native.trimMemory()
rmSync(root, { recursive: true })
console.log('done')

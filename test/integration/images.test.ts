// SPDX-License-Identifier: Apache-2.0
/**
 * The test images are what the conformance suite needs: unpacked by GNU tar and entered by chroot they say the
 * sentences that its specs compare with, and a real registry takes them and gives them back.
 */
import { execFile } from 'node:child_process'
import { chmod, mkdir, mkdtemp, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { defaultOut, ensureTestImages } from '../images/build.ts'
import { names } from '../images/catalog.ts'
import { acceptManifests, splitName } from '../support/image-push.ts'
import type { Snapshot } from '../support/leak-check.ts'
import { expectNoLeaks, snapshot } from '../support/leak-check.ts'
import { hostArchitecture } from '../support/oci-image.ts'
import { sha256 } from '../support/oci-layer.ts'
import type { Layout } from '../support/oci-layout.ts'
import type { Registry } from '../support/registry.ts'
import { hostsOf, registryUser, startRegistry, writeHostsToml } from '../support/registry.ts'

interface Manifest {
  readonly manifests?: readonly {
    readonly digest: string
    readonly platform: { readonly architecture: string }
  }[]
  readonly config: { readonly digest: string }
  readonly layers: readonly { readonly digest: string; readonly mediaType: string }[]
}

let layout: Layout
let root: string
let before: Snapshot

async function manifestOf(name: string): Promise<Manifest> {
  const source = layout.image(name)
  const read = async (digest: string): Promise<Manifest> =>
    JSON.parse(Buffer.from(await source.read(digest)).toString('utf8'))
  const top = await read(source.digest)
  const here = top.manifests?.find((m) => m.platform.architecture === hostArchitecture())
  return here === undefined ? top : read(here.digest)
}

/** Unpacks the image (or some of its layers) with GNU tar; gives the folder. */
async function unpack(name: string, layers?: readonly number[]): Promise<string> {
  const dir = await mkdtemp(join(root, 'rootfs-'))
  await chmod(dir, 0o755)
  const manifest = await manifestOf(name)
  for (const [i, layer] of manifest.layers.entries()) {
    if (layers !== undefined && !layers.includes(i)) continue
    const kind = layer.mediaType.endsWith('gzip')
      ? ['-z']
      : layer.mediaType.endsWith('zstd')
        ? ['--zstd']
        : []
    const blob = join(layout.dir, 'blobs/sha256', layer.digest.slice('sha256:'.length))
    const options = ['--xattrs', '--xattrs-include=*', '--numeric-owner', '-p']
    await promisify(execFile)('tar', [...kind, ...options, '-x', '-f', blob, '-C', dir])
  }
  return dir
}

interface Said {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** Runs a script in mount, PID and IPC namespaces of its own; $ROOT is the folder. */
async function said(dir: string, script: string): Promise<Said> {
  const args = ['--mount', '--pid', '--ipc', '--fork', '--kill-child', '--', 'sh', '-c', script]
  return new Promise((resolve) => {
    execFile(
      'unshare',
      args,
      { env: { PATH: process.env.PATH, ROOT: dir }, timeout: 20_000 },
      (e, stdout, stderr) => resolve({ code: e === null ? 0 : Number(e.code ?? -1), stdout, stderr }),
    )
  })
}

beforeAll(async () => {
  if (process.getuid?.() !== 0) throw new Error('needs root')
  root = await mkdtemp(join(tmpdir(), 'gt-images-'))
  before = await snapshot({ roots: [root], linkPrefixes: ['gt-'] })
  layout = await ensureTestImages()
}, 120_000)

afterAll(async () => {
  if (before !== undefined) await expectNoLeaks(before)
  if (root !== undefined) await rm(root, { recursive: true, force: true })
})

describe('building', () => {
  it('again takes less than a second when nothing has changed', async () => {
    const startedMs = performance.now()
    expect((await ensureTestImages()).names).toEqual(layout.names)
    expect(performance.now() - startedMs).toBeLessThan(1000)
  })

  it('gives the same digests in another folder', async () => {
    const other = await ensureTestImages(join(root, 'other'))
    const digests = (l: Layout): string[] => l.names.map((n) => `${n} ${l.image(n).digest}`)
    expect(digests(other)).toEqual(digests(layout))
    expect(layout.dir).toBe(defaultOut)
  })

  it('gives images that differ where tests tell them apart, and one where they are one', () => {
    const digest = (name: string): string => layout.image(name).digest
    const staging = layout.names.filter((n) => /test-image-(?:\d|tag|latest)/.test(n) && !n.includes('-tags'))
    expect(new Set(staging.map(digest)).size).toBe(staging.length)
    const tags = layout.names.filter((n) => n.includes('test-image-tags:'))
    expect([tags.length, new Set(tags.map(digest)).size]).toEqual([3, 1])
    expect(digest(names.pause)).toBe(digest(names.pauseOld))
  })
})

describe('busybox', () => {
  let dir = ''
  beforeAll(async () => {
    dir = await unpack(names.busybox)
  })

  it('has hard links, so that a masked ls is not all of busybox', async () => {
    const { ino, nlink } = await stat(join(dir, 'bin/ls'))
    expect([ino, nlink > 100]).toEqual([(await stat(join(dir, 'bin/busybox'))).ino, true])
    const masked = await said(
      dir,
      'mount --bind /dev/null $ROOT/bin/ls; chroot $ROOT /bin/sh -c ls; chroot $ROOT echo on',
    )
    expect(masked).toMatchObject({ stdout: 'on\n', stderr: '/bin/sh: ls: Permission denied\n' })
    expect((await said(dir, 'chroot $ROOT /bin/sh -c "ls /"')).stdout).toContain('bin\ndev\netc\n')
  })

  it('has a pgrep that finds what runs and is silent otherwise', async () => {
    const proc = 'mount -t proc proc $ROOT/proc'
    const found = await said(
      dir,
      `${proc}; chroot $ROOT sleep 30 & ${proc}; sleep 0.3; chroot $ROOT sh -c "pgrep sleep"`,
    )
    expect(found.stdout).toMatch(/^\d+\n$/)
    expect(await said(dir, `${proc}; chroot $ROOT sh -c "pgrep sleep || true"`)).toEqual({
      code: 0,
      stdout: '',
      stderr: '',
    })
  })

  it('has an ipcs that shows segments, and no digit before them', async () => {
    const proc = 'mount -t proc proc $ROOT/proc'
    expect((await said(dir, `${proc}; chroot $ROOT ipcs -m`)).stdout).not.toMatch(/\d/)
    const made = await said(dir, `${proc}; ipcmk -M 4096 >&2; chroot $ROOT ipcs -m`)
    expect(made.stdout).toContain(/(\d+)$/.exec(made.stderr.trim())?.[1])
  })

  it('says what specs compare with', async () => {
    const readOnly = 'mount --bind $ROOT $ROOT; mount -o remount,bind,ro $ROOT'
    expect((await said(dir, `${readOnly}; chroot $ROOT touch test.go`)).stderr).toBe(
      'touch: test.go: Read-only file system\n',
    )
    expect((await said(dir, 'chroot $ROOT id -nu')).stdout).toBe('root\n')
    expect((await said(dir, 'chroot --userspec nobody $ROOT id -nu')).stdout).toBe('nobody\n')
    expect((await stat(join(dir, 'tmp'))).mode & 0o7777).toBe(0o1777)
  })
})

describe('the others', () => {
  it('nginx accepts its configuration and comes up', async () => {
    const dir = await unpack(names.nginx)
    const test = await said(dir, 'chroot $ROOT nginx -t')
    expect([test.code, test.stderr]).toEqual([0, expect.stringContaining('test is successful')])
    expect(await readFile(join(dir, 'etc/nginx/nginx.conf'), 'utf8')).toContain('listen 80;')
    const host = await unpack(names.hostnetNginx)
    expect(await readFile(join(host, 'etc/nginx/nginx.conf'), 'utf8')).toContain('listen 12003;')
    expect((await said(host, 'chroot $ROOT nginx -t')).code).toBe(0)
  })

  it('nonewprivs is setuid and says so', async () => {
    const dir = await unpack(names.nonewprivs)
    expect((await stat(join(dir, 'nnp'))).mode & 0o7777).toBe(0o4755)
    expect((await said(dir, 'chroot --userspec 1000:1000 $ROOT /nnp')).stdout).toBe('Effective uid: 0\n')
    const kept = await said(dir, 'setpriv --no-new-privs chroot --userspec 1000:1000 $ROOT /nnp')
    expect(kept.stdout).toBe('Effective uid: 1000\n')
  })

  it('the group image adds its user to its group', async () => {
    const dir = await unpack(names.predefinedGroup)
    expect((await said(dir, 'chroot --userspec default-user $ROOT id -G')).stdout).toBe('1000 50000\n')
  })

  it('pause ends at TERM', async () => {
    const dir = await unpack(names.pause)
    const ended = await said(dir, 'chroot $ROOT /pause & sleep 0.3; kill -TERM $!; wait $!; echo $?')
    expect(ended.stdout).toBe('0\n')
  })

  it.each([names.hello, names.zstd, names.plain])('%s greets on both streams', async (name) => {
    const dir = await unpack(name)
    expect(await said(dir, 'chroot $ROOT /hello 0 3')).toEqual({
      code: 3,
      stdout: 'hello from gantry\n',
      stderr: 'hello on stderr\n',
    })
  })

  it('the unpack layers carry what they are to test', async () => {
    const dir = await unpack(names.layers, [2])
    const data = (path: string): Promise<Awaited<ReturnType<typeof stat>>> => stat(join(dir, 'data', path))
    expect((await data('null')).isCharacterDevice()).toBe(true)
    expect((await data('fifo')).isFIFO()).toBe(true)
    expect((await data('one')).ino).toBe((await data('two')).ino)
    expect(Number((await data('setgid')).mode) & 0o7777).toBe(0o2755)
    expect((await data('naïve – ünï')).isFile()).toBe(true)
    const dump = 'import os,sys; sys.stdout.write(os.getxattr(sys.argv[1], "user.note").hex())'
    const { stdout } = await promisify(execFile)('python3', ['-c', dump, join(dir, 'data/attributed')])
    expect(stdout).toBe('00ff0a3d')
  })
})

describe('a real registry', () => {
  let registry: Registry
  beforeAll(async () => {
    registry = await startRegistry()
  })
  afterAll(() => registry?.stop())

  it('takes every image and gives it back by name', async () => {
    await registry.pushLayout(layout)
    for (const name of layout.names) {
      const { path, tag } = splitName(name)
      const url = `${registry.url}/v2/${path}/manifests/${tag ?? layout.image(name).digest}`
      const reply = await fetch(url, { headers: { accept: acceptManifests } })
      const bytes = Buffer.from(await reply.arrayBuffer())
      expect([name, reply.status, sha256(bytes)]).toEqual([name, 200, layout.image(name).digest])
    }
    await registry.push(layout.image(names.hello), 'another.host/again:2')
    expect((await fetch(`${registry.url}/v2/again/tags/list`)).status).toBe(200)
  }, 60_000)

  it('with a user wants the password', async () => {
    const locked = await startRegistry({ auth: true })
    try {
      await locked.push(layout.image(names.hello), 'private/hello:1')
      const url = `${locked.url}/v2/private/hello/manifests/1`
      expect((await fetch(url)).status).toBe(401)
      const basic = Buffer.from(`${registryUser.username}:${registryUser.password}`).toString('base64')
      const headers = { authorization: `Basic ${basic}`, accept: acceptManifests }
      expect((await fetch(url, { headers })).status).toBe(200)
    } finally {
      await locked.stop()
    }
  })

  it('is where hosts.toml sends the hosts of the images', async () => {
    const certs = join(root, 'certs.d')
    await mkdir(certs)
    const hosts = hostsOf(layout.names)
    expect(hosts).toEqual(['registry.k8s.io', 'k8s.gcr.io', 'gcr.io', 'public.ecr.aws', 'gantry.test'])
    await writeHostsToml(certs, hosts, registry.url)
    expect(await readFile(join(certs, 'gcr.io/hosts.toml'), 'utf8')).toBe(
      `server = "${registry.url}"\n\n[host."${registry.url}"]\n  capabilities = ["pull", "resolve"]\n`,
    )
  })
})

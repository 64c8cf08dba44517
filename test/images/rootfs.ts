// SPDX-License-Identifier: Apache-2.0
/**
 * rootfs: the entries of the layers that the test images share: busybox with hard links for its applets, nginx
 * with its libraries, web pages, and the layers that exercise an unpacker. Pure: contents come in, entries go
 * out. Hard links and not symbolic ones: a mask over /bin/ls must not mask busybox itself.
 */
import { dirname } from 'node:path'
import type { LayerEntry } from '../support/oci-layer.ts'
import type { Busybox } from './debian.ts'

const passwd = [
  'root:x:0:0:root:/root:/bin/sh',
  'daemon:x:1:1:daemon:/usr/sbin:/bin/false',
  'www-data:x:33:33:www-data:/www:/bin/false',
  'nobody:x:65534:65534:nobody:/nonexistent:/bin/false',
]
const group = ['root:x:0:', 'daemon:x:1:', 'www-data:x:33:', 'nogroup:x:65534:']
const lines = (rows: readonly string[]): string => `${rows.join('\n')}\n`

const directories: readonly LayerEntry[] = [
  ...[
    'bin',
    'dev',
    'etc',
    'proc',
    'sbin',
    'sys',
    'usr',
    'usr/bin',
    'usr/sbin',
    'var',
    'var/lib',
    'var/run',
  ].map((path): LayerEntry => ({ type: 'directory', path })),
  { type: 'directory', path: 'root', mode: 0o700 },
  { type: 'directory', path: 'tmp', mode: 0o1777 },
]

/** The base of nearly every image: busybox, a shell without an `ls` of its own, pgrep, ipcs, users. */
export function busyboxEntries(
  busybox: Busybox,
  programs: ReadonlyMap<string, Buffer>,
): readonly LayerEntry[] {
  const own = new Set(['bin/busybox', 'bin/sh', 'bin/ash', 'linuxrc'])
  const links = busybox.applets
    .filter((path) => !own.has(path))
    .map((path): LayerEntry => ({ type: 'hardlink', path, target: 'bin/busybox', mode: 0o755 }))
  return [
    ...directories,
    { type: 'file', path: 'bin/busybox', mode: 0o755, content: busybox.binary },
    { type: 'file', path: 'bin/sh', mode: 0o755, content: busybox.shell },
    ...links,
    program(programs, 'pgrep', 'bin/pgrep'),
    program(programs, 'ipcs', 'bin/ipcs'),
    { type: 'file', path: 'etc/passwd', content: lines(passwd) },
    { type: 'file', path: 'etc/group', content: lines(group) },
  ]
}

/** A compiled program as an entry. Throws when there is none of that name. */
export function program(
  programs: ReadonlyMap<string, Buffer>,
  name: string,
  path: string,
  mode = 0o755,
): LayerEntry {
  const content = programs.get(name)
  if (content === undefined) throw new Error(`test images: there is no program ${name} in src/`)
  return { type: 'file', path, mode, content }
}

/** Users and groups of the predefined-group image, which replace those of the base. */
export function predefinedGroupEntries(): readonly LayerEntry[] {
  const users = [...passwd, 'default-user:x:1000:1000::/home/default-user:/bin/sh']
  const groups = [...group, 'default-user:x:1000:', 'group-defined-in-image:x:50000:default-user']
  return [
    { type: 'file', path: 'etc/passwd', content: lines(users) },
    { type: 'file', path: 'etc/group', content: lines(groups) },
    { type: 'directory', path: 'home' },
    { type: 'directory', path: 'home/default-user', uid: 1000, gid: 1000 },
  ]
}

function nginxConf(port: number): string {
  return lines([
    'daemon off;',
    'user root;',
    'worker_processes 1;',
    'pid /var/run/nginx.pid;',
    'error_log stderr notice;',
    'events { worker_connections 64; }',
    'http {',
    '  access_log off;',
    `  server { listen ${port}; location / { root /www; index index.html; } }`,
    '}',
  ])
}

/** nginx, its libraries at the paths where its loader looks, and its folders. */
export function nginxEntries(files: ReadonlyMap<string, Buffer>): readonly LayerEntry[] {
  const folders = new Set<string>(['etc/nginx', 'var/lib/nginx', 'var/log', 'var/log/nginx', 'www'])
  const known = new Set(directories.map((d) => d.path))
  for (const path of files.keys())
    for (let dir = dirname(path.slice(1)); dir !== '.'; dir = dirname(dir))
      if (!known.has(dir)) folders.add(dir)
  return [
    ...[...folders].sort().map((path): LayerEntry => ({ type: 'directory', path })),
    ...[...files].map(
      ([path, content]): LayerEntry => ({ type: 'file', path: path.slice(1), mode: 0o755, content }),
    ),
    { type: 'file', path: 'www/index.html', content: 'hello from nginx\n' },
  ]
}

/** The configuration of nginx for one port. */
export function nginxConfEntries(port: number): readonly LayerEntry[] {
  return [{ type: 'file', path: 'etc/nginx/nginx.conf', content: nginxConf(port) }]
}

/** What the httpd image serves. */
export function wwwEntries(): readonly LayerEntry[] {
  return [
    { type: 'directory', path: 'www' },
    { type: 'file', path: 'www/index.html', content: 'hello from httpd\n' },
  ]
}

/** What the image of volumes declares: folders that are there or not, links, and what every container has anyway. */
export const declaredVolumes = [
  '/data',
  '/absent/deep',
  '/linked',
  '/out',
  '/nowhere',
  '/proc',
  '/etc',
  '/',
  'bare',
]

export function volumeEntries(): LayerEntry[] {
  return [
    { type: 'directory', path: 'data', mode: 0o2770, uid: 33, gid: 44 },
    { type: 'file', path: 'data/file', mode: 0o640, uid: 33, gid: 44, content: 'of the image\n' },
    { type: 'directory', path: 'real', mode: 0o700 },
    { type: 'symlink', path: 'linked', target: 'real' },
    { type: 'symlink', path: 'out', target: '../../../../tmp/gt-volume-outside' },
    { type: 'symlink', path: 'nowhere', target: '/made/by/link' },
  ]
}

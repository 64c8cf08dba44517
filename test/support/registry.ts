// SPDX-License-Identifier: Apache-2.0
/**
 * registry: Debian's docker-registry on a free port of 127.0.0.1 for one suite, its storage in a temporary
 * folder that goes with it. Images of several source registries lie in the one by their path; the hosts.toml
 * files that send a runtime there are written by `writeHostsToml`. Faults are not made here: `pull-registry.ts`.
 */
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { OwnedChild } from './child.ts'
import { freePort, startChild, waitUntil } from './child.ts'
import type { PushTarget } from './image-push.ts'
import { pushImage, splitName } from './image-push.ts'
import type { ImageSource } from './oci-image.ts'
import type { Layout } from './oci-layout.ts'
import { ownedDir, staleDirs } from './owned-dir.ts'

const prefix = join(tmpdir(), 'gt-registry-')

/** The one user of a registry started with `auth`; the hash is bcrypt at its least cost. */
export const registryUser = {
  username: 'gantry',
  password: 'gantry-test',
  hash: '$2b$04$Ln7ylDzdH07puU5rhspLyuwD8.i0lJt8xsCjPv1R7qctxFFpvhG66',
} as const

export interface Registry {
  /** `127.0.0.1:PORT`, as it stands in front of an image name. */
  readonly host: string
  readonly port: number
  /** `http://127.0.0.1:PORT` */
  readonly url: string
  readonly pid: number
  /** Pushes under the path and tag of `name`; gives the digest. Its host, if any, is left out. */
  push(image: ImageSource, name: string): Promise<string>
  /** The images of a layout under their own names: all, or those named. */
  pushLayout(layout: Layout, names?: readonly string[]): Promise<void>
  /** Ends the process and removes its storage. Idempotent. */
  stop(): Promise<void>
}

function configOf(dir: string, port: number, auth: boolean): string {
  return JSON.stringify({
    version: 0.1,
    log: { level: 'warn' },
    storage: { filesystem: { rootdirectory: join(dir, 'data') }, delete: { enabled: true } },
    http: { addr: `127.0.0.1:${port}`, secret: 'for tests on loopback only' },
    ...(auth ? { auth: { htpasswd: { realm: 'gantry', path: join(dir, 'htpasswd') } } } : {}),
  })
}

async function serveIn(dir: string, auth: boolean): Promise<{ child: OwnedChild; port: number }> {
  const port = await freePort()
  const config = join(dir, 'config.yml')
  await writeFile(config, configOf(dir, port, auth))
  await writeFile(join(dir, 'htpasswd'), `${registryUser.username}:${registryUser.hash}\n`, { mode: 0o600 })
  const child = await startChild('docker-registry', ['serve', config], {
    env: { PATH: process.env.PATH, OTEL_TRACES_EXPORTER: 'none' },
  })
  let ended = false
  void child.exited.then(() => {
    ended = true
  })
  try {
    await waitUntil(
      'docker-registry answers',
      async () => {
        if (ended) throw new Error('docker-registry has ended')
        const reply = await fetch(`http://127.0.0.1:${port}/v2/`).catch(() => undefined)
        return reply !== undefined && (reply.status === 200 || reply.status === 401)
      },
      { withinMs: 10_000 },
    )
    return { child, port }
  } catch (e) {
    await child.end()
    throw new Error(`docker-registry did not start (Debian package docker-registry):\n${child.tail()}`, {
      cause: e,
    })
  }
}

/** Starts a registry. With `auth` it wants Basic credentials, those of `registryUser`, for everything. */
export async function startRegistry(options: { readonly auth?: boolean } = {}): Promise<Registry> {
  const auth = options.auth === true
  for (const stale of await staleDirs(prefix)) await rm(stale, { recursive: true, force: true })
  const dir = await ownedDir(prefix)
  const started = await serveIn(dir, auth)
    .catch(() => serveIn(dir, auth)) // the port may have been taken meanwhile: once more
    .catch(async (e: unknown) => {
      await rm(dir, { recursive: true, force: true })
      throw e
    })
  const { child, port } = started
  const url = `http://127.0.0.1:${port}`
  const basic = Buffer.from(`${registryUser.username}:${registryUser.password}`).toString('base64')
  const target: PushTarget = { url, known: new Map(), authorization: auth ? `Basic ${basic}` : undefined }
  return {
    host: `127.0.0.1:${port}`,
    port,
    url,
    pid: child.pid,
    push: (image, name) => pushImage(target, image, name),
    pushLayout: async (layout, names = layout.names) => {
      for (const name of names) await pushImage(target, layout.image(name), name)
    },
    stop: async () => {
      await child.end()
      await rm(dir, { recursive: true, force: true })
    },
  }
}

/**
 * Writes `certsDir/HOST/hosts.toml` for each host, in containerd's form, so that the images of HOST are fetched
 * from the registry at `url`. Existing files are replaced.
 */
export async function writeHostsToml(certsDir: string, hosts: readonly string[], url: string): Promise<void> {
  for (const host of hosts) {
    await mkdir(join(certsDir, host), { recursive: true })
    await writeFile(
      join(certsDir, host, 'hosts.toml'),
      `server = "${url}"\n\n[host."${url}"]\n  capabilities = ["pull", "resolve"]\n`,
    )
  }
}

/** The registry hosts that occur in image names, each once. */
export function hostsOf(names: readonly string[]): readonly string[] {
  return [...new Set(names.flatMap((n) => splitName(n).host ?? []))]
}

// SPDX-License-Identifier: Apache-2.0
/**
 * debian: the files of this machine that the test images are made of: busybox-static, nginx-light with the
 * libraries it needs, and the project's own small programs, compiled with musl-gcc. Reads and compiles; it
 * neither installs nor writes outside a temporary folder. What is missing is named with its package.
 */
import { execFile } from 'node:child_process'
import { mkdtemp, readdir, readFile, realpath, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const run = promisify(execFile)

export const busyboxPath = '/usr/bin/busybox'
export const nginxPath = '/usr/sbin/nginx'
export const sourceDir = join(dirname(fileURLToPath(import.meta.url)), 'src')

/** Runs a program of a package; a program that is not there is reported with the package to install. */
async function output(program: string, args: readonly string[], debianPackage: string): Promise<string> {
  try {
    return (await run(program, args, { maxBuffer: 1 << 24, timeout: 60_000 })).stdout
  } catch (e) {
    if (e instanceof Error && 'code' in e && e.code === 'ENOENT')
      throw new Error(`test images: ${program} is missing: install the Debian package ${debianPackage}`)
    throw e
  }
}

async function fileOf(path: string, debianPackage: string): Promise<Buffer> {
  return readFile(path).catch((e: unknown) => {
    throw new Error(`test images: ${path} is missing: install the Debian package ${debianPackage}`, {
      cause: e,
    })
  })
}

export interface Busybox {
  readonly binary: Buffer
  /** A copy whose shell does not know `ls` as an applet: its `ls` is always the file that PATH finds. */
  readonly shell: Buffer
  /** Paths of all applets without the leading slash, `bin/ls` and the like. */
  readonly applets: readonly string[]
}

/**
 * busybox and its shell. Debian's busybox runs applets inside the shell without looking at the file system, so
 * a masked /bin/ls would still list. The shell's copy has the applet's name changed in its table.
 */
export async function readBusybox(): Promise<Busybox> {
  const binary = await fileOf(busyboxPath, 'busybox-static')
  const list = await output(busyboxPath, ['--list-full'], 'busybox-static')
  return { binary, shell: withoutLs(binary), applets: list.split('\n').filter((l) => l !== '') }
}

/** The binary with `ls` renamed `lr` in the applet table. Throws unless the table is there exactly once. */
export function withoutLs(binary: Buffer): Buffer {
  const before = Buffer.from('\0ls\0lsmod\0')
  const at = binary.indexOf(before)
  if (at < 0 || binary.indexOf(before, at + 1) >= 0)
    throw new Error(
      `test images: ${busyboxPath} is not the busybox expected: its applet table was not found once`,
    )
  const copy = Buffer.from(binary)
  copy.write('\0lr\0lsmod\0', at, 'latin1')
  return copy
}

/** Paths of nginx and of every library and loader it needs, as the dynamic linker names them. */
export async function nginxFiles(): Promise<readonly string[]> {
  const listing = await output('ldd', [nginxPath], 'libc-bin').catch((e: unknown) => {
    throw new Error(`test images: ldd ${nginxPath} failed: install the Debian package nginx-light`, {
      cause: e,
    })
  })
  const libraries = [...listing.matchAll(/(?:=> )?(\/\S+) \(0x/g)].map((m) => m[1] ?? '')
  if (!libraries.some((l) => l.includes('/ld-linux')))
    throw new Error(`test images: ldd ${nginxPath} names no loader:\n${listing}`)
  return [nginxPath, ...libraries]
}

/** The content of each of those files under the path by which it is looked up; links are followed. */
export async function readNginx(): Promise<ReadonlyMap<string, Buffer>> {
  const contents = new Map<string, Buffer>()
  for (const path of await nginxFiles()) contents.set(path, await readFile(await realpath(path)))
  return contents
}

/** Compiles every program of `src/` as a static binary of its own: name → bytes. */
export async function compilePrograms(): Promise<ReadonlyMap<string, Buffer>> {
  const work = await mkdtemp(join(tmpdir(), 'gt-images-'))
  try {
    const sources = (await readdir(sourceDir)).filter((f) => f.endsWith('.c')).sort()
    const flags = ['-std=c17', '-D_GNU_SOURCE', '-Wall', '-Wextra', '-Werror', '-static', '-Os', '-s']
    const compiled = await Promise.all(
      sources.map(async (source): Promise<[string, Buffer]> => {
        const name = basename(source, '.c')
        const to = join(work, name)
        await output('musl-gcc', [...flags, '-o', to, join(sourceDir, source)], 'musl-tools')
        return [name, await readFile(to)]
      }),
    )
    return new Map(compiled)
  } finally {
    await rm(work, { recursive: true, force: true })
  }
}

// SPDX-License-Identifier: Apache-2.0
/**
 * Looks up CDI devices in folders of spec files. The folders are looked at with each request that names a device, and
 * a file is read again when it has changed: what a driver writes counts at once. A spec that cannot be used is passed
 * over, and told to those who ask for a device that nobody else has; it stops nobody else.
 */
import { constants } from 'node:fs'
import { open, readdir, stat } from 'node:fs/promises'
import { errnoCode, Fault } from '../base/fault.ts'
import { type CdiEdits, type CdiSpec, joinEdits, parseCdiName, parseCdiSpec } from '../model/cdi.ts'
import { clip } from '../model/ids.ts'
import { LIMITS } from '../model/limits.ts'
import { parseYaml } from './yaml.ts'

/**
 * The edits for devices by their qualified names, in that order, each file's common ones once before its first device.
 * Throws `invalid` for a device that no spec has, or two files of one folder; a later folder wins over an earlier one.
 */
export type Cdi = (names: readonly string[]) => Promise<CdiEdits>

interface SpecFile {
  readonly path: string
  /** Changes with the file. */
  readonly stamp: string
  readonly spec: CdiSpec | Fault
}

/** How many broken files an error names. */
const NAMED = 3

/** No folders: CDI is off, and each device is refused. */
export function cdi(dirs: readonly string[]): Cdi {
  let known = new Map<string, SpecFile>()

  /** The files of each folder, the folder that wins first. */
  async function look(): Promise<readonly (readonly SpecFile[])[]> {
    const all: SpecFile[][] = []
    for (const dir of dirs.toReversed()) {
      const found: SpecFile[] = []
      for (const path of await specPaths(dir)) {
        const file = await current(path, known.get(path))
        if (file) found.push(file)
      }
      all.push(found)
    }
    known = new Map(all.flat().map((file) => [file.path, file]))
    return all
  }

  return async (names) => {
    if (dirs.length === 0)
      throw new Fault('unsupported', `CDI device ${clip(names[0] ?? '')}: CDI is off here: set cdi_spec_dirs`)
    const folders = await look()
    const used = new Set<CdiSpec>()
    const all = names.flatMap((name) => {
      const { spec, edits } = findDevice(name, folders, dirs)
      if (used.has(spec)) return [edits]
      used.add(spec)
      return [spec.edits, edits]
    })
    return joinEdits(all)
  }
}

function findDevice(
  name: string,
  folders: readonly (readonly SpecFile[])[],
  dirs: readonly string[],
): { readonly spec: CdiSpec; readonly edits: CdiEdits } {
  const wanted = parseCdiName(name)
  for (const files of folders) {
    const found = files.flatMap(({ path, spec }) => {
      const edits = !isFault(spec) && spec.kind === wanted?.kind ? spec.devices.get(wanted.device) : undefined
      return edits && !isFault(spec) ? [{ path, spec, edits }] : []
    })
    const [one, other] = found
    if (one && other)
      throw new Fault(
        'invalid',
        `CDI device ${clip(name)} is in two files, ${one.path} and ${other.path}: remove one of them`,
      )
    if (one) return one
  }
  const broken = folders.flat().flatMap(({ spec }) => (isFault(spec) ? [spec.message] : []))
  const told = broken.length > 0 ? `; not usable are ${broken.slice(0, NAMED).join('; ')}` : ''
  throw new Fault('invalid', `CDI device ${clip(name)} is in no spec in ${dirs.join(', ')}${told}`)
}

const isFault = (spec: CdiSpec | Fault): spec is Fault => spec instanceof Fault

async function specPaths(dir: string): Promise<readonly string[]> {
  const names = await readdir(dir).catch((e: unknown) => {
    if (errnoCode(e) === 'ENOENT') return []
    throw new Fault('invalid', `CDI: ${dir} cannot be read: ${e instanceof Error ? e.message : e}`)
  })
  const specs = names.filter((n) => /\.(?:json|yaml)$/.test(n)).sort()
  if (specs.length > LIMITS.cdiFiles)
    throw new Fault('exhausted', `CDI: ${dir} has ${specs.length} specs, more than ${LIMITS.cdiFiles}`)
  return specs.map((n) => `${dir}/${n}`)
}

/** The file as it is now, which is as before if nothing changed; undefined if it has gone. Never throws. */
async function current(path: string, before: SpecFile | undefined): Promise<SpecFile | undefined> {
  let stamp = ''
  try {
    const { dev, ino, size, mtimeNs, ctimeNs } = await stat(path, { bigint: true })
    stamp = [dev, ino, size, mtimeNs, ctimeNs].join(' ')
    if (before?.stamp === stamp) return before
    return { path, stamp, spec: await readSpec(path) }
  } catch (e) {
    if (errnoCode(e) === 'ENOENT') return undefined
    return { path, stamp, spec: new Fault('invalid', `${path}: ${e instanceof Error ? e.message : e}`) }
  }
}

async function readSpec(path: string): Promise<CdiSpec> {
  // What is no file is told by its kind, and never waited for.
  await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
  const stats = await file.stat()
  if (!stats.isFile()) throw new Error('is not a file')
  if (stats.size > LIMITS.cdiFileBytes) throw new Error(`is larger than ${LIMITS.cdiFileBytes} bytes`)
  const text = await file.readFile('utf8')
  return parseCdiSpec(path.endsWith('.json') ? JSON.parse(text) : await parseYaml('YAML', text))
}

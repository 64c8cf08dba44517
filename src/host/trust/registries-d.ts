// SPDX-License-Identifier: Apache-2.0
/**
 * `registries.d/*.yaml` (containers-registries.d(5)): where the signatures of an image are. Read at each pull that
 * needs a signature. A file that does not parse fails that pull, naming file and line.
 */
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { errnoCode, Fault } from '../../base/fault.ts'
import { TRUST } from '../../model/limits.ts'
import { type Reference, repositoryOf } from '../../model/reference.ts'
import { scopesOf } from '../../model/trust-identity.ts'
import { parseYaml } from '../yaml.ts'

export interface SignaturePlaces {
  /** The folder of simple signatures of the repository; the digest and `/signature-N` follow. */
  readonly lookaside: URL
  /** Whether cosign's signatures are looked for, in the image's own repository. */
  readonly attachments: boolean
}

interface Section {
  readonly lookaside: string | undefined
  readonly attachments: boolean | undefined
}

/** What is used when no file says otherwise, as containers/image has it. */
const LOOKASIDE = 'file:///var/lib/containers/sigstore'
const SCHEMES = new Set(['file:', 'http:', 'https:'])

/** Where the signatures of `ref` are. A folder that is missing says nothing. Throws `invalid`. @abort finishes */
export async function signaturePlaces(dir: string, ref: Reference): Promise<SignaturePlaces> {
  const sections = await readSections(dir)
  const found = [...scopesOf(ref).map((scope) => `docker ${scope}`), 'default-docker'].flatMap(
    (scope) => sections.get(scope) ?? [],
  )
  const base = found.find((s) => s.lookaside !== undefined)?.lookaside ?? LOOKASIDE
  const lookaside = URL.parse(base)
  if (!lookaside || !SCHEMES.has(lookaside.protocol))
    throw new Fault('invalid', `${dir}: ${JSON.stringify(base)} is not a file, http or https URL`)
  lookaside.pathname = `${lookaside.pathname.replace(/\/+$/, '')}/${repositoryOf(ref).slice(ref.domain.length + 1)}`
  const attachments = found.find((s) => s.attachments !== undefined)?.attachments ?? false
  return { lookaside, attachments }
}

/** All sections by their scope; one scope in two files is an error. */
async function readSections(dir: string): Promise<ReadonlyMap<string, Section>> {
  const names = await readdir(dir).catch((e: unknown) => {
    if (errnoCode(e) === 'ENOENT') return []
    throw new Fault('invalid', `${dir} cannot be read: ${e instanceof Error ? e.message : e}`, { cause: e })
  })
  const sections = new Map<string, Section>()
  const from = new Map<string, string>()
  for (const name of names.filter((n) => n.endsWith('.yaml')).sort()) {
    const file = join(dir, name)
    for (const [scope, section] of await readSectionsOf(file)) {
      const other = from.get(scope)
      if (other !== undefined) throw new Fault('invalid', `${file}: "${scope}" is in ${other} already`)
      from.set(scope, file)
      sections.set(scope, section)
    }
  }
  return sections
}

async function readSectionsOf(file: string): Promise<[string, Section][]> {
  const root = await readTable(file)
  const found: [string, Section][] = []
  if (root['default-docker'] != null)
    found.push(['default-docker', sectionOf(root['default-docker'], `${file}: default-docker`)])
  if (root.docker == null) return found
  for (const [scope, value] of Object.entries(table(root.docker, `${file}: docker`)))
    found.push([`docker ${scope}`, sectionOf(value, `${file}: docker: ${scope}`)])
  return found
}

async function readTable(file: string): Promise<Readonly<Record<string, unknown>>> {
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (e) {
    throw new Fault('invalid', `${file} cannot be read: ${e instanceof Error ? e.message : e}`, { cause: e })
  }
  if (text.length > TRUST.policyBytes)
    throw new Fault('invalid', `${file} is larger than ${TRUST.policyBytes} bytes`)
  const value = await parseYaml(file, text)
  return value == null ? {} : table(value, file)
}

function table(value: unknown, where: string): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new Fault('invalid', `${where}: a mapping is expected`)
  return value as Readonly<Record<string, unknown>>
}

function sectionOf(value: unknown, where: string): Section {
  const of = value == null ? {} : table(value, where)
  const attachments = of['use-sigstore-attachments']
  if (attachments != null && typeof attachments !== 'boolean')
    throw new Fault('invalid', `${where}: use-sigstore-attachments: true or false is expected`)
  const url = (key: string): string | undefined => {
    const found = of[key]
    if (found != null && typeof found !== 'string')
      throw new Fault('invalid', `${where}: ${key}: a URL is expected`)
    return found || undefined
  }
  // `sigstore` is what `lookaside` was called before sigstore was something else.
  return { lookaside: url('lookaside') ?? url('sigstore'), attachments: attachments ?? undefined }
}

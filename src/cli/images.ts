// SPDX-License-Identifier: Apache-2.0
/** images: the images of the node as a table, as ids, or as JSON. Choosing and drawing are pure. */
import { Fault } from '../base/fault.ts'
import { loadConfig } from '../config/load.ts'
import { nearest } from '../config/nearest.ts'
import type { RpcMessages } from '../edge/node/gen/rpcs.ts'
import { clip } from '../model/ids.ts'
import type { Args } from './args.ts'
import { connectNode } from './node-client.ts'
import { type ExitCode, exitCodes } from './table.ts'
import { ageText, safe, shortId, sizeText, table } from './text.ts'

export interface Image {
  readonly id: string
  readonly tags: readonly string[]
  readonly digests: readonly string[]
  readonly sizeBytes: number
  readonly createdAt: string
  readonly pulledAt: string
  readonly pinned: boolean
  readonly containers: number
}

type WireImage = NonNullable<RpcMessages['Images']['response']['images']>[number]

/** An image as the daemon tells it, with nothing left out. */
export const imageOf = (i: WireImage): Image => ({
  id: i.id ?? '',
  tags: i.tags ?? [],
  digests: i.digests ?? [],
  sizeBytes: Number(i.sizeBytes ?? 0),
  createdAt: i.createdAt ?? '',
  pulledAt: new Date(Number((i.pulledAtNs ?? 0n) / 1_000_000n)).toISOString(),
  pinned: i.pinned ?? false,
  containers: i.containers ?? 0,
})

type Test = (image: Image, name: string) => boolean

const filters: Readonly<Record<string, (value: boolean) => Test>> = {
  dangling: (v) => (i) => (i.tags.length === 0) === v,
  'in-use': (v) => (i) => i.containers > 0 === v,
  pinned: (v) => (i) => i.pinned === v,
}

/** Does a person who types `pattern` mean `name`? `*` is any text; `nginx` is docker.io/library/nginx:1 too. */
export function matches(pattern: string, name: string): boolean {
  const source = pattern
    .split('*')
    .map((part) => part.replace(/[.+?^${}()|[\]\\]/g, '\\$&'))
    .join('.*')
  return new RegExp(`^(?:docker\\.io/(?:library/)?)?${source}(?:[:@].*)?$`).test(name)
}

/** What all filters let through; throws `invalid` for one that is unknown. */
export function filterOf(pattern: string | undefined, text: string | undefined): Test {
  const tests: Test[] = []
  const reference =
    (wanted: string): Test =>
    (_, name) =>
      matches(wanted, name)
  if (pattern !== undefined) tests.push(reference(pattern))
  for (const part of (text ?? '').split(',').filter((p) => p !== '')) {
    const [key = '', value = ''] = part.split(/=([\s\S]*)/)
    if (key === 'reference') tests.push(reference(value))
    else tests.push(flagFilter(key, value))
  }
  return (image, name) => tests.every((t) => t(image, name))
}

function flagFilter(key: string, value: string): Test {
  const known = [...Object.keys(filters), 'reference']
  const make = Object.hasOwn(filters, key) ? filters[key] : undefined
  const wrong = (why: string) => new Fault('invalid', `--filter: ${why}`, { reason: 'usage' })
  if (make === undefined) {
    const near = nearest(key, known)
    throw wrong(
      `"${clip(key)}" is not one of ${known.join(', ')}${near === undefined ? '' : `; did you mean ${near}?`}`,
    )
  }
  if (value !== 'true' && value !== 'false') throw wrong(`${key}: "${clip(value)}" is neither true nor false`)
  return make(value === 'true')
}

interface Row {
  readonly image: Image
  /** `name:tag`, else `name@digest`, else empty. */
  readonly name: string
}

/** One row for each name that `test` lets through. Without a tag the digest is the name. */
export function rowsOf(images: readonly Image[], test: Test): Row[] {
  return images.flatMap((image) => {
    const names = image.tags.length > 0 ? image.tags : image.digests.slice(0, 1)
    return (names.length > 0 ? names : [''])
      .filter((name) => test(image, name))
      .map((name) => ({ image, name }))
  })
}

interface Look {
  readonly digests: boolean
  readonly noTrunc: boolean
  readonly nowMs: number
}

/** The table. */
export function imagesTable(rows: readonly Row[], { digests, noTrunc, nowMs }: Look): string {
  const heading = [
    'REPOSITORY',
    'TAG',
    ...(digests ? ['DIGEST'] : []),
    'IMAGE ID',
    'CREATED',
    'SIZE',
    'IN USE',
  ]
  return table(
    heading,
    rows.map(({ image, name }) => {
      const [, repository = '<none>', tag = '<none>'] = /^([^@]+?)(?::([^:/@]+))?(?:@.*)?$/.exec(name) ?? []
      const digest = image.digests.find((d) => d.startsWith(`${repository}@`))?.split('@')[1]
      const use = [image.containers === 0 ? '' : `${image.containers}`, image.pinned ? 'pinned' : '']
      return [
        safe(repository),
        safe(tag),
        ...(digests ? [digest ?? '<none>'] : []),
        noTrunc ? image.id : shortId(image.id),
        ageText(image.createdAt, nowMs),
        sizeText(image.sizeBytes),
        use.filter((u) => u !== '').join(', ') || '-',
      ]
    }),
  )
}

/** `gantry images`. Throws Faults. */
export async function run(args: Args): Promise<ExitCode> {
  const test = filterOf(args.words[0], args.values.get('filter'))
  const { socket } = loadConfig(args, process.env)
  using client = await connectNode(socket)
  const { images } = await client.call('Images', {})
  const newestFirst = (images ?? []).toSorted((a, b) => Number((b.pulledAtNs ?? 0n) - (a.pulledAtNs ?? 0n)))
  const rows = rowsOf(newestFirst.map(imageOf), test)
  const chosen = [...new Set(rows.map((r) => r.image))]
  const noTrunc = args.own.has('no-trunc')
  if (args.own.has('json')) process.stdout.write(`${JSON.stringify(chosen, null, 2)}\n`)
  else if (args.own.has('quiet'))
    process.stdout.write(chosen.map(({ id }) => `${noTrunc ? id : shortId(id)}\n`).join(''))
  else
    process.stdout.write(imagesTable(rows, { digests: args.own.has('digests'), noTrunc, nowMs: Date.now() }))
  return exitCodes.ok
}

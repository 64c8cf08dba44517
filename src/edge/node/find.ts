// SPDX-License-Identifier: Apache-2.0
/**
 * What a person means by a word: a container, a pod or an image, by name, id, or the beginning of an id. A name
 * comes before an id that begins so; a container before a pod, and a pod before an image. Reads only.
 */
import { Fault } from '../../base/fault.ts'
import type { Engine } from '../../engine/index.ts'
import type { Container } from '../../model/container.ts'
import { clip } from '../../model/ids.ts'
import type { ImageRecord } from '../../model/image.ts'
import type { Pod } from '../../model/pod.ts'

export type Found =
  | { readonly kind: 'container'; readonly value: Container }
  | { readonly kind: 'pod'; readonly value: Pod }
  | { readonly kind: 'image'; readonly value: ImageRecord }

export const kinds = ['container', 'pod', 'image'] as const
export type Kind = (typeof kinds)[number]

/** The part of the engine that is looked through. */
export interface Known {
  readonly pods: Pick<Engine['pods'], 'list'>
  readonly containers: Pick<Engine['containers'], 'list'>
  readonly images: Pick<Engine['images'], 'find'>
}

/**
 * Finds it, of `kind` only if that is not empty. `not-found`; `invalid` when several are meant, with their names,
 * and for an unknown kind. Of several attempts of one container the newest is meant.
 */
export function find(engine: Known, word: string, kind: string): Found {
  if (word === '') throw new Fault('invalid', 'name: is required')
  if (kind !== '' && !kinds.some((k) => k === kind))
    throw new Fault('invalid', `kind: "${clip(kind)}" is not one of ${kinds.join(', ')}`)
  const wants = (k: Kind): boolean => kind === '' || kind === k
  const found =
    (wants('container') ? container(engine, word) : undefined) ??
    (wants('pod') ? pod(engine, word) : undefined) ??
    (wants('image') ? image(engine, word) : undefined)
  if (found) return found
  const what = kind === '' ? 'container, pod or image' : kind
  throw new Fault('not-found', `there is no ${what} "${clip(word)}" here`)
}

function container(engine: Known, word: string): Found | undefined {
  const pods = new Map(engine.pods.list().map((p) => [p.record.id, p.record.config.metadata]))
  const namesOf = (c: Container): string[] => {
    const { name } = c.record.config.metadata
    const p = pods.get(c.record.pod)
    return p ? [`${p.namespace}/${p.name}/${name}`, `${p.name}/${name}`, name] : [name]
  }
  const all = engine.containers.list()
  const named = newest(all.filter((c) => namesOf(c).includes(word)))
  const value = one(named.length > 0 ? named : all.filter((c) => begins(c.record.id, word)), {
    word,
    what: 'containers',
    show: (c) => `${namesOf(c)[0]} (${c.record.id.slice(0, 13)})`,
  })
  return value && { kind: 'container', value }
}

/** Of each name in each pod the last attempt. */
function newest(all: readonly Container[]): readonly Container[] {
  const last = new Map<string, Container>()
  for (const c of all) {
    const key = `${c.record.pod} ${c.record.config.metadata.name}`
    const other = last.get(key)
    if (!other || other.record.config.metadata.attempt < c.record.config.metadata.attempt) last.set(key, c)
  }
  return [...last.values()]
}

function pod(engine: Known, word: string): Found | undefined {
  const nameOf = (p: Pod): string => `${p.record.config.metadata.namespace}/${p.record.config.metadata.name}`
  const all = engine.pods.list()
  const named = all.filter((p) => nameOf(p) === word || p.record.config.metadata.name === word)
  const value = one(named.length > 0 ? named : all.filter((p) => begins(p.record.id, word)), {
    word,
    what: 'pods',
    show: (p) => `${nameOf(p)} (${p.record.id.slice(0, 13)})`,
  })
  return value && { kind: 'pod', value }
}

function image(engine: Known, word: string): Found | undefined {
  const value = engine.images.find(word)
  return value && { kind: 'image', value }
}

const begins = (id: string, word: string): boolean => /^[0-9a-f]+$/.test(word) && id.startsWith(word)

const SHOWN = 5

function one<T>(
  found: readonly T[],
  say: { readonly word: string; readonly what: string; readonly show: (value: T) => string },
): T | undefined {
  if (found.length < 2) return found[0]
  const some = found.slice(0, SHOWN).map(say.show).join(', ')
  const more = found.length > SHOWN ? `, and ${found.length - SHOWN} more` : ''
  throw new Fault('invalid', `"${clip(say.word)}" means ${found.length} ${say.what}: ${some}${more}`)
}

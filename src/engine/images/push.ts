// SPDX-License-Identifier: Apache-2.0
/**
 * Push: one image of this node to a registry, under its own name or another. Layers go as they were pulled
 * where their blobs were kept, else compressed anew. Only this machine's platform is here: an index is not
 * pushed. Changes nothing here.
 */
import { act } from '../../base/act.ts'
import { Fault } from '../../base/fault.ts'
import type { Scope } from '../../base/scope.ts'
import type { PullProgress } from '../../host/images/puller.ts'
import { clip } from '../../model/ids.ts'
import type { ImageRecord } from '../../model/image.ts'
import type { RegistryAuth, Sealed } from '../../model/pull-policy.ts'
import { type Digest, formatReference, parseReference, type Reference } from '../../model/reference.ts'
import { expectImage, imageOut, nameIn, namesMeant, type OutDeps } from './save.ts'

export interface PushCommand {
  /** Name, digest or id of an image that is here. */
  readonly reference: string
  /** Where it goes; without it, to the name that `reference` is. */
  readonly target?: Reference
  readonly auth: Sealed<RegistryAuth>
  readonly onProgress?: (progress: PullProgress) => void
}

export interface Pushed {
  /** `registry/name:tag` that was written. */
  readonly name: string
  /** Of the manifest, as the registry confirmed it. */
  readonly digest: Digest
  readonly warnings: readonly string[]
}

export type PushImage = (scope: Scope, command: PushCommand) => Promise<Pushed>

/** Faults: `not-found`, `invalid`, `denied`, `unavailable`, `unsupported`. @abort kills */
export function pushImage(deps: OutDeps): PushImage {
  return async (scope, { reference, auth, onProgress, ...command }) => {
    const record = expectImage(deps, reference)
    using _ = deps.hold(record.id)
    const target = command.target ?? ownName(record, reference)
    const image = await imageOut(deps, record, [...record.repoTags, ...record.repoDigests])
    const events = onProgress === undefined ? {} : { onProgress }
    const { digest, warnings } = await act(scope, { work: 'push', name: 'worker' }, () =>
      deps.transfers.push(scope, { target, image, auth }, events),
    )
    const name = formatReference(target)
    scope.log.info('image-pushed', { image: name, id: record.id, digest })
    const whole = record.targetDigest === record.manifestDigest
    const partly = `it was pulled from an index of several platforms: only ${record.os}/${record.architecture} is here and was pushed`
    return { name, digest, warnings: whole ? warnings : [partly, ...warnings] }
  }
}

/** The name that was asked for. What only leads to the image, an id or an alias, does not say where to push it. */
function ownName(record: ImageRecord, reference: string): Reference {
  const [name, ...more] = namesMeant(record, reference)
  const asked = more.length === 0 ? nameIn(reference) : undefined
  if (asked !== undefined && asked === name) return parseReference(name)
  throw new Fault(
    'invalid',
    `"${clip(reference)}" does not say where image ${record.id} is to be pushed to: name the target`,
  )
}

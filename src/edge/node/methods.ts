// SPDX-License-Identifier: Apache-2.0
/**
 * The table of the RPCs of gantry.v1.Node, one row each; a missing row does not compile. A row that streams is
 * given where its messages go, and returns the last one.
 */
import { Fault } from '../../base/fault.ts'
import { imagesOf } from '../../model/container.ts'
import type { ImageRecord } from '../../model/image.ts'
import { formatReference, writtenReference } from '../../model/reference.ts'
import type { Call } from '../cri/context.ts'
import { load, save } from './archives.ts'
import { credentials, logLevel, reference, required } from './decode.ts'
import { find } from './find.ts'
import type { v1 } from './gen/api.js'
import type { Rpc, RpcMessages, RpcName } from './gen/rpcs.ts'
import { inspection } from './inspect.ts'
import { layers, type Out } from './out.ts'

type RowOf<N extends RpcName> = Extract<Rpc, { name: N }>
type Request<N extends RpcName> =
  RowOf<N> extends { requestStream: true }
    ? AsyncIterable<RpcMessages[N]['request']>
    : RpcMessages[N]['request']
type Response<N extends RpcName> = RpcMessages[N]['response']

export type Method<N extends RpcName> = (
  call: Call,
  request: Request<N>,
  out: Out<Response<N>>,
) => Promise<Response<N>> | Response<N>

export const methods: { readonly [N in RpcName]: Method<N> } = {
  Pull: pull,
  async Push({ scope, engine }, request, out) {
    const pushed = await engine.images.push(scope, {
      reference: required('image', request.image),
      ...(request.target === '' ? {} : { target: reference('target', request.target) }),
      auth: credentials(request.credentials),
      onProgress: (p) => out.offer({ progress: { layers: layers(p) } }),
    })
    return { done: { name: pushed.name, digest: pushed.digest, warnings: [...pushed.warnings] } }
  },
  Save: save,
  Load: load,
  Images: ({ engine }) => {
    const users = new Map<string, number>()
    for (const { record } of engine.containers.list())
      for (const id of imagesOf(record)) users.set(id, (users.get(id) ?? 0) + 1)
    return { images: engine.images.list().map((r) => image(r, users.get(r.id) ?? 0)) }
  },
  async Tag({ scope, engine }, request) {
    const name = reference('name', request.name)
    const { id } = await engine.images.tag(scope, required('image', request.image), name)
    return { id, name: formatReference(name) }
  },
  async Remove({ scope, engine }, request) {
    const { untagged, removed } = await engine.images.untag(scope, required('image', request.image))
    return { untagged: [...untagged], removedId: removed ?? '' }
  },
  async Prune({ scope, engine }, { all, dryRun }) {
    const pruned = await engine.images.prune(scope, { all, dryRun })
    return { images: pruned.images.map((r) => image(r, 0)), freedBytes: pruned.bytes }
  },
  async History({ engine }, request) {
    const name = required('image', request.image)
    const steps = await engine.images.history(name)
    return {
      id: engine.images.find(name)?.id ?? '',
      steps: steps.map(({ created, createdBy, comment, layer }) => ({
        createdAt: created,
        createdBy,
        comment,
        diffId: layer?.diffId ?? '',
        sizeBytes: layer?.bytes ?? 0n,
      })),
    }
  },
  async Inspect({ engine }, request) {
    const found = find(engine, required('name', request.name), request.kind)
    if (found.kind !== 'image')
      return { kind: found.kind, id: found.value.record.id, json: inspection(engine, found) }
    const { id } = found.value
    const raw = (await engine.images.blobsOf(id))?.config.toString('utf8')
    return { kind: found.kind, id, json: inspection(engine, found, raw && JSON.parse(raw)) }
  },
  async Diff({ scope, engine }, request) {
    const found = find(engine, required('name', request.name), request.kind)
    if (found.kind === 'pod')
      throw new Fault('invalid', 'a pod has no files of its own: name one of its containers')
    const target = found.kind === 'image' ? { image: found.value.id } : { container: found.value.record.id }
    const { entries, truncated } = await engine.images.diff(scope, target)
    return { entries: entries.map((e) => ({ ...e })), truncated }
  },
  LogLevel({ scope, about }, { level }) {
    if (level !== '') {
      about.log.level = logLevel(level)
      scope.log.warn('log-level', { level })
    }
    return { level: about.log.level }
  },
  Dump: async ({ about }) => ({ json: JSON.stringify(await about.dump()) }),
  PullsInFlight: ({ engine }) => ({
    pulls: engine.images.inFlight().map((p) => ({
      name: p.reference,
      startedAtNs: p.startedAtNs,
      progress: { layers: layers(p.progress) },
      callers: p.callers,
    })),
  }),
}

/** How often a pull is looked at, milliseconds: also one that another call has begun. */
const LOOK_MS = 100

async function pull(
  { scope, engine }: Call,
  request: v1.PullRequest,
  out: Out<v1.PullEvent.$Properties>,
): Promise<v1.PullEvent.$Properties> {
  const ref = reference('image', request.image)
  const [name, written] = [formatReference(ref), writtenReference(ref)]
  let shown: unknown
  const look = () => {
    const progress = engine.images.inFlight().find((p) => p.reference === written)?.progress
    if (progress === undefined || progress === shown) return
    shown = progress
    out.offer({ progress: { layers: layers(progress) } })
  }
  const timer = setInterval(look, LOOK_MS)
  try {
    const auth = credentials(request.credentials)
    const onProgress = () => look()
    const record = await engine.images.pull(scope, { reference: ref, auth, onProgress })
    const names = [...record.repoTags, ...record.repoDigests]
    // A short name may mean another registry than the usual one.
    const meant = names.includes(name) ? name : (names.find((n) => n.endsWith(`/${written}`)) ?? name)
    return { done: { id: record.id, name: meant, digest: record.targetDigest, sizeBytes: record.size } }
  } finally {
    clearInterval(timer)
  }
}

function image(r: ImageRecord, containers: number): v1.Image.$Properties {
  return {
    id: r.id,
    tags: [...r.repoTags],
    digests: [...r.repoDigests],
    sizeBytes: r.size,
    createdAt: r.createdAt,
    pulledAtNs: r.pulledAtNs,
    pinned: r.pinned,
    containers,
  }
}

// SPDX-License-Identifier: Apache-2.0
/**
 * The dependency graph, as lines one can read: Host (`compose-host.ts`), the image half (`compose-images.ts`), and what
 * the engine works with. Constructs, and does nothing else; what needs order in time (locks, recovery, sockets) is
 * `daemon.ts`.
 */
import { createHash, randomBytes } from 'node:crypto'
import { formatJson } from './base/json-file.ts'
import { KeyedLock } from './base/keyed-lock.ts'
import type { Scope } from './base/scope.ts'
import { SharedTasks } from './base/shared-task.ts'
import { buildHost } from './compose-host.ts'
import { buildImages } from './compose-images.ts'
import type { Config } from './config/schema.ts'
import type { Context } from './engine/context.ts'
import type { Images } from './engine/images/images.ts'
import { imageSource } from './engine/images/resolve.ts'
import { catalog } from './engine/state/catalog.ts'
import { store } from './engine/state/store.ts'
import type { Native } from './host/native.ts'
import { imagesOf } from './model/container.ts'
import { nodeFacts } from './node-facts.ts'
import { roots } from './places.ts'
import { runtimePrograms } from './runtimes.ts'
import { writableLayers } from './writable-layers.ts'

export interface Parts {
  readonly native: Native
  readonly context: Context
  readonly images: Images
}

/** Everything that can be built before recovery. Throws `unavailable` when pods cannot run on this machine. */
export async function compose(config: Config, daemon: Scope, native: Native): Promise<Parts> {
  const found = await runtimePrograms(config)
  const facts = await nodeFacts(config, daemon, { native, found })
  const host = buildHost({ config, daemon, native, facts, found })
  const known = catalog()
  const written = writableLayers(roots(config), native, known)
  const images = buildImages(config, { daemon, native, host, catalog: known, written })
  known.containers.onDrop = ({ record }) => {
    for (const id of imagesOf(record)) images.released(id)
  }
  const context: Context = {
    host,
    options: {
      roots: roots(config),
      defaultCgroupParent: config.cgroup.defaultParent,
      defaultHandler: config.defaultRuntime,
      execOutputBytes: config.limits.maxExecOutputBytes,
    },
    catalog: known,
    store: store(roots(config), host),
    images: imageSource(images, { ignoreVolumes: config.imageVolumes === 'ignore' }),
    writable: () => ({ mountpoint: images.fsInfo().writable.mountpoint, of: written.of }),
    locks: new KeyedLock(),
    joins: new SharedTasks<string>(daemon),
    daemon,
    newId: () => randomBytes(32).toString('hex'),
    hash: (request) => createHash('sha256').update(formatJson(request)).digest('hex'),
  }
  return { native, context, images }
}

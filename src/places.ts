// SPDX-License-Identifier: Apache-2.0
/**
 * Where things are: the daemon's two roots, and what the build made, the addon, the C programs and the workers. Looks
 * at no file.
 */
import { fileURLToPath } from 'node:url'
import type { Config } from './config/schema.ts'
import { ADDON, loadNative, type Native } from './host/native.ts'
import type { Roots } from './model/names.ts'

/** From which all paths of the daemon follow (`model/names.ts`). */
export function roots(config: Config): Roots {
  return { root: config.root, run: config.runDir }
}

const built = (name: string) => fileURLToPath(new URL(`../native/build/${name}`, import.meta.url))

/** The native pieces, which lie beside `dist/` or `src/`. */
export const programs = {
  addon: built(ADDON),
  monitor: built('gantry-monitor'),
  keeper: built('gantry-keeper'),
  pause: built('gantry-pause'),
  unpack: built('gantry-unpack'),
  hello: built('gantry-hello'),
}

/** The file of a worker, of the same build as this one. */
export function workerFile(name: 'image-worker' | 'observe-worker' | 'stream-worker'): string {
  const ending = import.meta.url.endsWith('.ts') ? 'ts' : 'js'
  return fileURLToPath(new URL(`./${name}.${ending}`, import.meta.url))
}

/** Throws when the addon is missing or of another build. */
export function loadAddon(): Native {
  return loadNative(programs.addon)
}

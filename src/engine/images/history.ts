// SPDX-License-Identifier: Apache-2.0
/**
 * History: how an image was made, step by step, as its configuration tells it, with what each step takes on this
 * disk. A builder may leave any of it out. Pure.
 */
import type { ImageRecord, LayerRecord } from '../../model/image.ts'

export interface HistoryStep {
  /** RFC 3339, or empty. */
  readonly created: string
  readonly createdBy: string
  readonly comment: string
  readonly author: string
  /** Undefined for a step that made no layer. */
  readonly layer: LayerRecord | undefined
}

/** Newest step first. Layers of which the configuration tells no step come as steps without words. */
export function imageHistory(record: ImageRecord, config: Buffer | undefined): readonly HistoryStep[] {
  const layers = [...record.layers]
  const steps = stepsOf(config).map((step): HistoryStep => {
    const text = (key: string) => {
      const value = step[key]
      return typeof value === 'string' ? value : ''
    }
    return {
      created: text('created'),
      createdBy: text('created_by'),
      comment: text('comment'),
      author: text('author'),
      layer: step.empty_layer === true ? undefined : layers.shift(),
    }
  })
  const silent = { created: '', createdBy: '', comment: '', author: '' }
  return [...steps, ...layers.map((layer) => ({ ...silent, layer }))].reverse()
}

function stepsOf(config: Buffer | undefined): readonly Readonly<Record<string, unknown>>[] {
  if (!config) return []
  try {
    const parsed: unknown = JSON.parse(config.toString('utf8'))
    const history: unknown =
      typeof parsed === 'object' && parsed !== null ? Reflect.get(parsed, 'history') : []
    if (!Array.isArray(history)) return []
    return history.map((step: unknown) =>
      typeof step === 'object' && step !== null ? Object.fromEntries(Object.entries(step)) : {},
    )
  } catch {
    return []
  }
}

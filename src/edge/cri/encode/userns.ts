// SPDX-License-Identifier: Apache-2.0
/** Id mappings as the CRI shows them. */
import type { IdRange } from '../../../model/pod.ts'
import type { v1 } from '../gen/api.js'

export function idMappings({ hostId, length }: IdRange): v1.IDMapping.$Properties[] {
  return [{ hostId, containerId: 0, length }]
}

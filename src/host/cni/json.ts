// SPDX-License-Identifier: Apache-2.0
/**
 * Reading foreign JSON values in the network folder: narrow, never trust, never throw. Owns nothing. It does
 * not use the bigint notation of `base/json-file.ts`: what plugins and administrators write is plain JSON.
 */

export type JsonObject = { readonly [key: string]: unknown }

export function asObject(value: unknown): JsonObject | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
  return Object.fromEntries(Object.entries(value))
}

export function asString(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined
}

export function asArray(value: unknown): readonly unknown[] | undefined {
  return Array.isArray(value) ? value : undefined
}

export type Parsed =
  | { readonly ok: true; readonly value: JsonObject }
  | { readonly ok: false; readonly why: string }

/** The object that `text` holds, or why it holds none. */
export function parseObject(text: string): Parsed {
  try {
    const value = asObject(JSON.parse(text))
    return value ? { ok: true, value } : { ok: false, why: 'not a JSON object' }
  } catch (e) {
    return { ok: false, why: e instanceof Error ? e.message : String(e) }
  }
}

// SPDX-License-Identifier: Apache-2.0
/** text: sizes, ages, shortened ids and tables, as people read them. Pure. */

/** `1.5 GiB` */
export function sizeText(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  let value = bytes
  let at = 0
  while (value >= 1024 && at < units.length - 1) {
    value /= 1024
    at++
  }
  return `${at === 0 ? value : value.toFixed(1)} ${units[at]}`
}

/** `sha256:` and all but the first 12 digits taken away. */
export const shortId = (id: string): string => id.replace(/^sha256:/, '').slice(0, 12)

const AGES: readonly (readonly [name: string, seconds: number])[] = [
  ['year', 365 * 86_400],
  ['month', 30 * 86_400],
  ['week', 7 * 86_400],
  ['day', 86_400],
  ['hour', 3600],
  ['minute', 60],
  ['second', 1],
]

/** `3 weeks ago` of a time as ISO text; `-` for none, and for what is no time of the last centuries. */
export function ageText(time: string, nowMs: number): string {
  const ms = Date.parse(time)
  if (Number.isNaN(ms) || ms <= 0) return '-'
  const seconds = Math.max(0, Math.round((nowMs - ms) / 1000))
  const [name, unit] = AGES.find(([, s]) => seconds >= s) ?? ['second', 1]
  const count = Math.floor(seconds / unit)
  return `${count} ${name}${count === 1 ? '' : 's'} ago`
}

/** Rows below a heading, in columns; the last one is not padded. No row: nothing but the heading. */
export function table(heading: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [heading, ...rows]
  const widths = heading.map((_, i) => Math.max(...all.map((row) => (row[i] ?? '').length)))
  return all
    .map(
      (row) =>
        `${row
          .map((text, i) => (i === row.length - 1 ? text : text.padEnd((widths[i] ?? 0) + 3)))
          .join('')
          .trimEnd()}\n`,
    )
    .join('')
}

/** The text cut to `width` characters, with `…` at the end if anything was cut. */
export const cut = (text: string, width: number): string =>
  text.length <= width ? text : `${text.slice(0, Math.max(0, width - 1))}…`

/** What an image or a path says, without what a terminal would carry out. */
export const safe = (text: string): string =>
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is taken out
  text.replace(/[\u0000-\u001f\u007f-\u009f]/g, '?')

/** What a person should know beside the result, for stderr. */
export const warningLines = (warnings: readonly string[]): string =>
  warnings.map((text) => `gantry: warning: ${safe(text)}\n`).join('')

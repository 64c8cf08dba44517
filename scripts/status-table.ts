// SPDX-License-Identifier: Apache-2.0
/**
 * status-table: the README's table of RPCs, from the table by which the server answers, so that the README cannot
 * claim more than the server does; and the replacing of a marked section in a page that people write. Pure.
 */

/** One RPC. `capability`: what will bring it; absent when it is carried out. */
export interface RpcRow {
  readonly service: string
  readonly name: string
  readonly capability?: string
}

/** The section for the README: one sentence with the count, then one line an RPC in the order given. */
export function statusTable(rows: readonly RpcRow[]): string {
  const waiting = rows.filter((r) => r.capability !== undefined).length
  return [
    `${rows.length - waiting} of the ${rows.length} RPCs are carried out. The other ${waiting} answer UNIMPLEMENTED and name what they wait for.`,
    '',
    '| service | RPC | state |',
    '|---|---|---|',
    ...rows.map(
      (r) => `| ${r.service} | ${r.name} | ${r.capability ? `not yet: ${r.capability}` : 'works'} |`,
    ),
  ].join('\n')
}

/**
 * `page` with what stands between `<!-- NAME … -->` and `<!-- /NAME -->` replaced by `section`. Throws when either
 * marker is missing or there twice: then nothing would be checked.
 */
export function withSection(page: string, name: string, section: string): string {
  const begins = [...page.matchAll(new RegExp(`<!-- ${name}\\b[^>]*-->`, 'g'))]
  const ends = [...page.matchAll(new RegExp(`<!-- /${name} -->`, 'g'))]
  const [begin, end] = [begins[0], ends[0]]
  if (!begin || !end || begins.length > 1 || ends.length > 1 || end.index < begin.index)
    throw new Error(`the page needs exactly one <!-- ${name} --> and, behind it, one <!-- /${name} -->`)
  return `${page.slice(0, begin.index + begin[0].length)}\n${section}\n${page.slice(end.index)}`
}

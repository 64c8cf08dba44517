// SPDX-License-Identifier: Apache-2.0
/** exposition: the text format of Prometheus, read strictly, for what tests want to know of it. */

type Labels = Readonly<Record<string, string>>

export interface Sample {
  readonly labels: Labels
  readonly value: number
}

export interface Exposition {
  /** Names that have a `# TYPE`. */
  readonly families: readonly string[]
  all(name: string): readonly Sample[]
  /** The sample with exactly these labels; undefined if there is none. */
  value(name: string, labels: Labels): number | undefined
}

/** Throws on a line that is none of the format. */
export function expositionOf(text: string): Exposition {
  const samples = new Map<string, Sample[]>()
  const families: string[] = []
  for (const line of text.split('\n')) {
    const type = /^# TYPE (\S+) (?:counter|gauge|histogram)$/.exec(line)
    if (type?.[1] !== undefined) families.push(type[1])
    if (line === '' || line.startsWith('#')) continue
    const found = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/.exec(line)
    const [, name = '', body = '', value] = found ?? []
    if (!found || Number.isNaN(Number(value?.replace('+Inf', 'Infinity'))))
      throw new Error(`no sample: ${line}`)
    const labels = Object.fromEntries(
      [...body.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"(?:,|$)/g)].map(([, key, text = '']) => [key, text]),
    )
    samples.set(name, [...(samples.get(name) ?? []), { labels, value: Number(value) }])
  }
  const same = (a: Labels, b: Labels) =>
    JSON.stringify(Object.entries(a).sort()) === JSON.stringify(Object.entries(b).sort())
  const all = (name: string) => samples.get(name) ?? []
  return {
    families,
    all,
    value: (name, labels) => all(name).find((s) => same(s.labels, labels))?.value,
  }
}

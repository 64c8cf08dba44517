// SPDX-License-Identifier: Apache-2.0
/**
 * benchmark: the figures that critest -benchmark leaves as JSON, as medians and as a chart. Pure: text in, text
 * out. One folder a runtime: what was measured of another beside gantry's own is drawn beside it.
 */

export interface Figure {
  readonly runtime: string
  readonly operation: string
  readonly medianMs: number
  readonly p90Ms: number
  readonly samples: number
}

interface BenchmarkFile {
  readonly operationsNames: readonly string[]
  readonly datapoints: readonly { readonly operationsDurationsNs: readonly number[] }[]
}

/** The figures of one file of one runtime, in the order of its operations. */
export function figuresOf(runtime: string, json: string): Figure[] {
  const { operationsNames, datapoints }: BenchmarkFile = JSON.parse(json)
  return operationsNames.map((operation, at) => {
    const sorted = datapoints.map((d) => (d.operationsDurationsNs[at] ?? 0) / 1e6).sort((a, b) => a - b)
    const quantile = (q: number): number => sorted[Math.floor((sorted.length - 1) * q)] ?? 0
    return { runtime, operation, medianMs: quantile(0.5), p90Ms: quantile(0.9), samples: sorted.length }
  })
}

const colours = ['#1f6feb', '#d29922', '#57606a']
const row = 16
const left = 190
const width = 560

const escaped = (text: string): string => text.replace(/[<>&"]/g, (c) => `&#${c.charCodeAt(0)};`)

/** Bars of the medians with a mark at p90, one group an operation, each group on a scale of its own. */
export function chart(figures: readonly Figure[]): string {
  const runtimes = [...new Set(figures.map((f) => f.runtime))]
  const parts: string[] = []
  let y = 10
  const text = (x: number, anchor: string, what: string): string =>
    `<text x="${x}" y="${y + 12}" text-anchor="${anchor}">${escaped(what)}</text>`
  for (const [operation, group] of Map.groupBy(figures, (f) => f.operation)) {
    const scale = width / Math.max(...group.map((f) => f.p90Ms), 0.001)
    for (const [at, f] of group.entries()) {
      const colour = colours[runtimes.indexOf(f.runtime) % colours.length]
      const bar = f.medianMs * scale
      parts.push(
        at === 0 ? text(left - 8, 'end', operation) : '',
        `<rect x="${left}" y="${y + 2}" width="${bar.toFixed(1)}" height="${row - 4}" fill="${colour}"/>`,
        `<rect x="${(left + f.p90Ms * scale).toFixed(1)}" y="${y}" width="2" height="${row}" fill="${colour}"/>`,
        text(left + width + 12, 'start', `${f.runtime} ${f.medianMs.toFixed(1)} / ${f.p90Ms.toFixed(1)} ms`),
      )
      y += row
    }
    y += 8
  }
  const head = `<svg xmlns="http://www.w3.org/2000/svg" width="${left + width + 230}" height="${y + 10}"`
  return `${head} font-family="sans-serif" font-size="12">\n${parts.filter((p) => p !== '').join('\n')}\n</svg>\n`
}

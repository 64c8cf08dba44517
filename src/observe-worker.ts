// SPDX-License-Identifier: Apache-2.0
/**
 * The observe worker: a process that counts what the daemon has done, serves the metrics, and sends the traces. It
 * exists so that no scrape and no collector comes near the daemon. It ends when its stdin closes. What it does is in
 * `observe-worker/`.
 */
import { createInterface } from 'node:readline'
import { asFault } from './base/fault.ts'
import { stepBack } from './host/step-back.ts'
import { type Metrics, metrics } from './observe-worker/metrics.ts'
import { type Exporter, exporter } from './observe-worker/otlp.ts'
import {
  type FromWorker,
  formatLine,
  type ObserveSettings,
  parseToWorker,
} from './observe-worker/protocol.ts'
import { serveMetrics } from './observe-worker/scrape.ts'
import { type Spans, spans } from './observe-worker/spans.ts'

/** So long a scrape waits for the daemon; then it gets the gauges of the last time. */
const STATE_MS = 2_000

interface Serving {
  readonly metrics: Metrics
  readonly traces: { readonly spans: Spans; readonly exporter: Exporter } | undefined
  /** The daemon's answer to `ask`. */
  answered: (() => void) | undefined
}

function say(message: FromWorker): void {
  if (process.stdout.writable) process.stdout.write(formatLine(message))
}

const warn = (event: string, fields: Readonly<Record<string, unknown>>) =>
  say({ type: 'warn', event, fields })

async function begin(settings: ObserveSettings): Promise<Serving> {
  const { version, nodeName } = settings
  const counted = metrics(version)
  const { endpoint, ratio } = settings.traces ?? {}
  const { exported, dropped } = counted.spans
  const serving: Serving = {
    metrics: counted,
    traces:
      endpoint === undefined || ratio === undefined
        ? undefined
        : {
            spans: spans(ratio),
            exporter: exporter({ endpoint, version, nodeName, exported, dropped, warn }),
          },
    answered: undefined,
  }
  const text = async () => {
    await new Promise<void>((resolve) => {
      const late = setTimeout(resolve, STATE_MS)
      serving.answered = () => {
        clearTimeout(late)
        resolve()
      }
      say({ type: 'ask' })
    })
    return await counted.text()
  }
  say({ type: 'ready', url: settings.metrics && (await serveMetrics({ ...settings.metrics, text, warn })) })
  return serving
}

async function main(): Promise<void> {
  await stepBack('gantry-observe')
  for (const out of [process.stdout, process.stderr]) out.on('error', () => out.destroy())
  for (const signal of ['SIGINT', 'SIGHUP'] as const) process.on(signal, () => {})
  let serving: Serving | undefined
  try {
    for await (const line of createInterface({ input: process.stdin })) {
      const message = parseToWorker(line)
      if (message.type === 'start') serving = await begin(message.settings)
      else if (!serving) continue
      else if (message.type === 'state') {
        serving.metrics.state(message.state)
        serving.answered?.()
      } else {
        const { metrics: counted, traces } = serving
        counted.dropped.inc(message.dropped)
        for (const stage of message.stages) {
          counted.stage(stage)
          traces?.exporter.add(traces.spans.stage(stage))
        }
        for (const task of message.tasks) {
          counted.task(task)
          traces?.exporter.add(traces.spans.task(task))
        }
        say({ type: 'took' })
      }
    }
  } catch (e) {
    say({ type: 'failed', message: asFault(e).message })
  }
  await serving?.traces?.exporter.close()
  process.exit(0)
}

await main()

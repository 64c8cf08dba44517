// SPDX-License-Identifier: Apache-2.0
/** The exporter against a collector on loopback: what it sends, and what becomes of spans that nobody takes. */
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { exporter } from '../../../src/observe-worker/otlp.ts'
import { spans } from '../../../src/observe-worker/spans.ts'
import { type Collector, startCollector } from '../../support/collector.ts'

const one = (count: number) => {
  const made = spans(1)
  const task = { id: 1, name: 'Version', code: 0, beganMs: 1, endedMs: 2 }
  return Array.from({ length: count }, () => made.task(task)).flat()
}

let collector: Collector
beforeEach(async () => {
  collector = await startCollector()
})
afterEach(() => collector.close())

function started(endpoint: string) {
  const counts = { exported: 0, dropped: 0 }
  const warnings: string[] = []
  const out = exporter({
    ...{ endpoint, version: '1', nodeName: 'n' },
    exported: (n) => {
      counts.exported += n
    },
    dropped: (n) => {
      counts.dropped += n
    },
    warn: (event) => warnings.push(event),
  })
  return { out, counts, warnings }
}

it('sends batches with the resource, and what is left at the end', async () => {
  const { batches, endpoint } = collector
  const { out, counts } = started(endpoint)
  out.add(one(700))
  await vi.waitFor(() => expect(counts.exported).toBe(700), { timeout: 5000 })
  expect(batches.map((b) => [b.path, b.spans.length])).toEqual([
    ['/v1/traces', 512],
    ['/v1/traces', 188],
  ])
  const attributes = expect.arrayContaining([{ key: 'service.name', value: { stringValue: 'gantry' } }])
  expect(batches[0]?.resource).toEqual({ attributes })
  out.add(one(3))
  await out.close()
  expect(counts).toEqual({ exported: 703, dropped: 0 })
})

it('keeps what a failing collector does not take, and drops what it refuses', async () => {
  collector.status = 503
  const { out, counts, warnings } = started(collector.endpoint)
  out.add(one(512))
  await vi.waitFor(() => expect(warnings).toEqual(['traces-not-sent']), { timeout: 5000 })
  expect(counts).toEqual({ exported: 0, dropped: 0 })
  collector.status = 200
  await vi.waitFor(() => expect(counts.exported).toBe(512), { timeout: 5000 })
  collector.status = 400
  out.add(one(512))
  await vi.waitFor(() => expect(counts.dropped).toBe(512), { timeout: 5000 })
  expect(warnings).toEqual(['traces-not-sent', 'traces-sent-again', 'traces-refused'])
  await out.close()
})

it('a collector that is not there costs a bounded queue, one warning, and no wait at the end', async () => {
  const { out, counts, warnings } = started('http://127.0.0.1:1')
  for (let i = 0; i < 20; i++) out.add(one(500))
  expect(counts.dropped).toBe(10_000 - 4096)
  await vi.waitFor(() => expect(warnings).toEqual(['traces-not-sent']), { timeout: 5000 })
  const begin = performance.now()
  await out.close()
  expect(performance.now() - begin).toBeLessThan(5000)
  expect(counts.exported).toBe(0)
})

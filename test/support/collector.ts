// SPDX-License-Identifier: Apache-2.0
/** collector: takes traces as an OTLP collector on loopback does, and keeps their spans. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { Span } from '../../src/observe-worker/spans.ts'

export interface Collector {
  /** `http://127.0.0.1:40001` */
  readonly endpoint: string
  /** One for each request that was taken. */
  readonly batches: readonly {
    readonly path: string
    readonly resource: object
    readonly spans: readonly Span[]
  }[]
  /** What it answers with from now on; 0: nothing at all. */
  status: number
  close(): void
}

export async function startCollector(): Promise<Collector> {
  const batches: Collector['batches'][number][] = []
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk)
    const [{ resource, scopeSpans }] = JSON.parse(Buffer.concat(chunks).toString()).resourceSpans
    const { status } = collector
    if (status === 0) return
    if (status === 200) batches.push({ path: request.url ?? '', resource, spans: scopeSpans[0].spans })
    response.writeHead(status).end('{}')
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const at = server.address()
  const collector = {
    endpoint: `http://127.0.0.1:${typeof at === 'object' ? at?.port : 0}`,
    batches,
    status: 200,
    close() {
      server.closeAllConnections()
      server.close()
    },
  }
  return collector
}

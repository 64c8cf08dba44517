// SPDX-License-Identifier: Apache-2.0
/**
 * node-server: the service gantry.v1.Node on a socket of its own, over an engine that a test gives, in the test's
 * process. Needs no root. What is logged is kept.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as grpc from '@grpc/grpc-js'
import type { Log } from '../../src/base/log.ts'
import { addNodeService } from '../../src/edge/node/service.ts'
import type { Engine } from '../../src/engine/index.ts'

export interface NodeServer extends AsyncDisposable {
  readonly socket: string
  /** Every line: event and fields. */
  readonly log: readonly Readonly<Record<string, unknown>>[]
  /** Ends all connections, as a daemon that dies does. */
  die(): void
}

function keepingLog(lines: Record<string, unknown>[], own: object = {}): Log {
  const say = (event: string, fields: object = {}) => void lines.push({ event, ...own, ...fields })
  return {
    debug: say,
    info: say,
    warn: say,
    error: say,
    with: (fields) => keepingLog(lines, { ...own, ...fields }),
  }
}

/** Of the engine only what a test uses needs to be there; calls of the rest fail. */
export async function serveNode(engine: object): Promise<NodeServer> {
  const folder = await mkdtemp(join(tmpdir(), 'gt-node-'))
  const socket = join(folder, 's.sock')
  const log: Record<string, unknown>[] = []
  const daemon = { signal: new AbortController().signal, log: keepingLog(log) }
  const server = new grpc.Server()
  addNodeService(server, {
    daemon,
    context: (scope) => ({
      scope,
      engine: engine as Engine,
      about: { version: 'test', config: {}, dump: async () => ({}), log: { level: 'info' } },
    }),
    onActivity: () => {},
  })
  const injector = server.createConnectionInjector(grpc.ServerCredentials.createInsecure())
  const open = new Set<{ destroy(): void }>()
  const listener = createServer((connection) => {
    open.add(connection)
    connection.on('close', () => open.delete(connection))
    injector.injectConnection(connection)
  })
  await new Promise<void>((resolve) => listener.listen(socket, resolve))
  const die = () => {
    listener.close()
    for (const connection of open) connection.destroy()
  }
  return {
    socket,
    log,
    die,
    async [Symbol.asyncDispose]() {
      die()
      server.forceShutdown()
      injector.destroy()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

// SPDX-License-Identifier: Apache-2.0
/** Frame readers of the streaming server against arbitrary bytes and arbitrary cuts. */
import { Duplex } from 'node:stream'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { isFault } from '../../src/base/fault.ts'
import { STREAMING } from '../../src/edge/streaming/limits.ts'
import { type FrameSink, frameReader } from '../../src/edge/streaming/spdy/frame.ts'
import { headerReader } from '../../src/edge/streaming/spdy/headers.ts'
import { spdySession } from '../../src/edge/streaming/spdy/session.ts'
import { controlFrame, dataFrame, headerWriter } from '../support/spdy-client.ts'

type Event = readonly [what: string, id: number, bytes: string, fin: boolean]

/** What a reader said, with the pieces of one data frame put together. */
function recorder(): FrameSink & { readonly events: Event[] } {
  const events: Event[] = []
  let open: { id: number; bytes: string } | undefined
  const add = (what: string, id: number, block?: Buffer, fin = false) => {
    events.push([what, id, block?.toString('hex') ?? '', fin])
  }
  return {
    events,
    data(id, piece, fin) {
      const bytes = (open?.id === id ? open.bytes : '') + piece.toString('hex')
      open = fin ? undefined : { id, bytes }
      if (events.at(-1)?.[0] === 'data' && events.at(-1)?.[1] === id && events.at(-1)?.[3] === false)
        events.pop()
      events.push(['data', id, bytes, fin])
    },
    synStream: (id, block, fin) => add('syn', id, block, fin),
    headers: (id, block, fin) => add('headers', id, block, fin),
    reset: (id) => add('reset', id),
    ping: (id) => add('ping', id),
    goAway: () => add('goaway', 0),
  }
}

const ids = fc.nat({ max: 0x7fffffff })
const body = fc.uint8Array({ maxLength: 300 }).map((b) => Buffer.from(b))
const frames = fc.oneof(
  fc.tuple(ids, body).map(([id, bytes]) => dataFrame(id, 1, bytes)),
  fc
    .tuple(fc.constantFrom(1, 2, 3, 4, 6, 7, 8, 9, 12), fc.nat({ max: 255 }), body)
    .map(([type, flags, bytes]) => controlFrame(type, flags, Buffer.concat([Buffer.alloc(10), bytes]))),
)

/** `bytes` cut at the given places. */
function cut(bytes: Buffer, places: readonly number[]): Buffer[] {
  const at = [
    0,
    ...[...new Set(places.map((p) => p % (bytes.length + 1)))].sort((a, b) => a - b),
    bytes.length,
  ]
  return at.slice(1).map((end, i) => bytes.subarray(at[i], end))
}

test('frames mean the same however the bytes are cut', () => {
  fc.assert(
    fc.property(
      fc.array(frames, { maxLength: 12 }),
      fc.array(fc.nat(), { maxLength: 40 }),
      (list, places) => {
        const bytes = Buffer.concat(list)
        const [whole, pieces] = [recorder(), recorder()]
        frameReader(whole)(bytes)
        const read = frameReader(pieces)
        for (const piece of cut(bytes, places)) read(piece)
        expect(pieces.events).toEqual(whole.events)
      },
    ),
  )
})

test('arbitrary bytes are frames or an invalid connection, never a bug', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 2000 }), { maxLength: 10 }), (chunks) => {
      const read = frameReader(recorder())
      try {
        for (const chunk of chunks) read(Buffer.from(chunk))
      } catch (e) {
        expect(isFault(e, 'invalid')).toBe(true)
      }
    }),
  )
})

test('header blocks of one connection come out as they went in', async () => {
  const text = fc.string({ unit: 'grapheme-ascii', minLength: 1, maxLength: 40 }).map((s) => s.toLowerCase())
  const headers = fc.dictionary(text, fc.string({ maxLength: 200 }), { maxKeys: 8, noNullPrototype: true })
  await fc.assert(
    fc.asyncProperty(fc.array(headers, { maxLength: 30 }), async (list) => {
      const write = headerWriter()
      const read = headerReader()
      for (const one of list) expect(Object.fromEntries(read(await write(one)))).toEqual(one)
    }),
    { numRuns: 50 },
  )
})

test('a header block of arbitrary bytes is refused or small', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 500 }), (bytes) => {
      const start = Buffer.from([0x78, 0xbb, 0xe3, 0xc6, 0xa7, 0xc2])
      try {
        const size = [...headerReader()(Buffer.concat([start, bytes]))].flat().join('').length
        expect(size).toBeLessThanOrEqual(STREAMING.headerBytes)
      } catch (e) {
        expect(isFault(e, 'invalid')).toBe(true)
      }
    }),
  )
})

test('a session over arbitrary frames ends when its client does and keeps nothing', async () => {
  const some = fc.oneof(
    frames,
    fc.uint8Array({ maxLength: 100 }).map((b) => Buffer.from(b)),
  )
  await fc.assert(
    fc.asyncProperty(fc.array(some, { maxLength: 30 }), async (list) => {
      const wire = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() })
      const over = Promise.withResolvers<void>()
      const open = new Set<Duplex>()
      spdySession(wire, {
        onStream: (stream) => {
          open.add(stream.on('close', () => open.delete(stream)))
          stream.resume()
        },
        onClose: () => over.resolve(),
      })
      for (const bytes of list) wire.push(bytes)
      wire.push(null)
      await over.promise
      await new Promise((resolve) => setImmediate(resolve))
      expect(open.size).toBe(0)
    }),
  )
})

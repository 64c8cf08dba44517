// SPDX-License-Identifier: Apache-2.0
/**
 * SpdySession: the server's side of one SPDY/3.1 connection over any byte stream: a socket, or the messages of a
 * WebSocket. Owns the streams that the client opens and their back-pressure. Clients of this protocol keep no
 * windows, so the only way to hold one back is not to read: that is done when too much waits, for all streams at
 * once. Opens no streams itself, and does not know what they are for.
 */
import { Duplex } from 'node:stream'
import { asFault, Fault } from '../../../base/fault.ts'
import { STREAMING } from '../limits.ts'
import {
  dataHead,
  type FrameSink,
  frameReader,
  goAwayFrame,
  pingFrame,
  RESET,
  rstStream,
  synReply,
} from './frame.ts'
import { emptyBlocks, type Headers, headerReader } from './headers.ts'

/** A stream of the client's. Its readable side ends by FIN; ending the writable side sends FIN. */
export interface SpdyStream extends Duplex {
  readonly id: number
  readonly headers: Headers
}

export interface SpdyEvents {
  /** The client has opened a stream. Throwing refuses it. */
  onStream(stream: SpdyStream): void
  /** The connection is over, by whichever side; every stream is destroyed by then. Called once. */
  onClose(why: Fault | undefined): void
}

export interface SpdySession {
  /** Says that no more streams are taken, ends our side when all is written, and waits for the client's. @abort finishes */
  end(): Promise<void>
  /** Ends it at once. Idempotent. */
  destroy(why?: Fault): void
}

/** Ours are even. */
const PROBE_ID = 2
/** For the last frames of a connection that is given up. */
const FLUSH_MS = 1000

interface Own {
  readonly stream: SpdyStream
  /** Bytes that were read from the socket and that nobody has taken yet. */
  waiting: number
  readonly queue: (Buffer | null)[]
  hungry: boolean
}

export function spdySession(wire: Duplex, events: SpdyEvents): SpdySession {
  return new Session(wire, events)
}

class Session implements SpdySession {
  readonly #wire: Duplex
  readonly #events: SpdyEvents
  readonly #streams = new Map<number, Own>()
  readonly #readHeaders = headerReader()
  readonly #block = emptyBlocks()
  readonly #closed = Promise.withResolvers<void>()
  #waiting = 0
  #last = 0
  #over = false
  /** Runs while the client is not read: the end of a connection would not be seen then, but a write meets it. */
  #probing: NodeJS.Timeout | undefined
  #leaving = false

  constructor(wire: Duplex, events: SpdyEvents) {
    this.#wire = wire
    this.#events = events
    const read = frameReader(this.#sink())
    wire.on('data', (chunk: Buffer) => {
      try {
        if (!this.#over) read(chunk)
      } catch (e) {
        this.#write(goAwayFrame(this.#last, RESET.protocolError))
        this.destroy(asFault(e))
      }
    })
    wire.on('end', () => this.#close(undefined))
    wire.on('error', (e) =>
      this.#close(new Fault('unavailable', `the client's connection broke: ${e.message}`)),
    )
    wire.on('close', () => this.#close(undefined))
  }

  async end(): Promise<void> {
    if (this.#over) return
    this.#leaving = true
    this.#wire.end(goAwayFrame(this.#last))
    // Closing with unread bytes would reset the connection, and the client might lose the end of our output.
    const timer = setTimeout(() => this.destroy(), STREAMING.lingerMs)
    this.#wire.resume()
    await this.#closed.promise
    clearTimeout(timer)
  }

  destroy(why?: Fault): void {
    this.#close(why)
  }

  #close(why: Fault | undefined): void {
    if (this.#over) return
    this.#over = true
    for (const { stream } of this.#streams.values()) stream.destroy()
    this.#streams.clear()
    clearInterval(this.#probing)
    // What is written already goes out, if anybody takes it; then the connection goes.
    const late = setTimeout(() => this.#wire.destroy(), FLUSH_MS)
    this.#wire.once('close', () => clearTimeout(late))
    this.#wire.end(() => this.#wire.destroy())
    this.#closed.resolve()
    this.#events.onClose(this.#leaving ? undefined : why)
  }

  #write(bytes: Buffer): void {
    if (!this.#over && this.#wire.writable) this.#wire.write(bytes)
  }

  #sink(): FrameSink {
    return {
      data: (id, piece, fin) => this.#data(id, piece, fin),
      synStream: (id, block, fin) => this.#synStream(id, block, fin),
      headers: (id, block, fin) => {
        this.#readHeaders(block) // not wanted, but the compression goes on from it
        if (fin) this.#data(id, Buffer.alloc(0), true)
      },
      reset: (id) => {
        this.#streams.get(id)?.stream.destroy(new Fault('cancelled', 'the client reset the stream'))
      },
      ping: (id) => {
        // An even one is the answer to ours.
        if (id % 2 === 1) this.#write(pingFrame(id))
      },
      goAway: () => undefined,
    }
  }

  #synStream(id: number, block: Buffer, fin: boolean): void {
    const headers = this.#readHeaders(block)
    if (id % 2 === 0 || id <= this.#last) throw new Fault('invalid', `SPDY: a stream with the id ${id}`)
    this.#last = id
    if (this.#leaving || this.#streams.size >= STREAMING.spdyStreams) {
      this.#write(rstStream(id, RESET.refusedStream))
      return
    }
    const own = this.#make(id, headers)
    this.#streams.set(id, own)
    try {
      this.#events.onStream(own.stream)
    } catch {
      this.#streams.delete(id)
      own.stream.destroy()
      this.#write(rstStream(id, RESET.refusedStream))
      return
    }
    this.#write(synReply(id, this.#block()))
    if (fin) this.#data(id, Buffer.alloc(0), true)
  }

  #data(id: number, piece: Buffer, fin: boolean): void {
    const own = this.#streams.get(id)
    // A stream that is gone here may still be on its way there: what comes for it is dropped.
    if (!own) return
    if (piece.length > 0) {
      own.queue.push(piece)
      own.waiting += piece.length
      this.#waiting += piece.length
    }
    if (fin) own.queue.push(null)
    if (own.hungry) this.#feed(own)
    if (this.#waiting > STREAMING.bufferedBytes && !this.#wire.isPaused()) {
      this.#wire.pause()
      this.#probing = setInterval(() => this.#write(pingFrame(PROBE_ID)), STREAMING.probeMs)
    }
  }

  #feed(own: Own): void {
    own.hungry = true
    while (own.hungry) {
      const piece = own.queue.shift()
      if (piece === undefined) return
      if (piece !== null) this.#taken(own, piece.length)
      own.hungry = own.stream.push(piece)
    }
  }

  #taken(own: Own, bytes: number): void {
    own.waiting -= bytes
    this.#waiting -= bytes
    if (this.#waiting <= STREAMING.bufferedBytes / 2 && this.#wire.isPaused() && !this.#over)
      this.#wire.resume()
  }

  #make(id: number, headers: Headers): Own {
    const stream = Object.assign(
      new Duplex({
        read: () => this.#feed(own),
        write: (piece: Buffer, _encoding, done) => this.#send(id, piece, done),
        final: (done) => this.#send(id, undefined, done),
        destroy: (error, done) => {
          this.#dropped(own)
          done(error)
        },
      }),
      { id, headers },
    )
    stream.on('error', () => {}) // who reads or writes it learns of it; nobody has to
    const own: Own = { stream, waiting: 0, queue: [], hungry: false }
    return own
  }

  /** Cut into frames; the callback comes when the last is with the kernel, so no stream gets far ahead. */
  #send(id: number, piece: Buffer | undefined, done: (error?: Error | null) => void): void {
    if (this.#over || !this.#wire.writable) {
      done(new Fault('cancelled', 'the client is gone'))
      return
    }
    if (piece === undefined) {
      this.#wire.write(dataHead(id, 0, true), done)
      return
    }
    this.#wire.cork()
    for (let at = 0; at < piece.length; at += STREAMING.frameBytes) {
      const part = piece.subarray(at, at + STREAMING.frameBytes)
      this.#wire.write(dataHead(id, part.length, false))
      if (at + STREAMING.frameBytes < piece.length) this.#wire.write(part)
      else this.#wire.write(part, done)
    }
    if (piece.length === 0) done()
    this.#wire.uncork()
  }

  #dropped(own: Own): void {
    const { stream } = own
    if (!this.#streams.delete(stream.id)) return
    this.#taken(own, own.waiting)
    own.queue.length = 0
    // Both sides done: it ends as it should. Else the client has to be told.
    if (!(stream.readableEnded && stream.writableFinished)) this.#write(rstStream(stream.id, RESET.cancel))
  }
}

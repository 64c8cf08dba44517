// SPDX-License-Identifier: Apache-2.0
/** Limits of the streaming server, all in one place. Times in milliseconds, sizes in bytes. */
export const STREAMING = {
  /** How long a token may wait for its client. */
  tokenMs: 60_000,
  /** Tokens that may wait at once. */
  tokens: 1_000,
  /** Sessions at once. */
  sessions: 1_000,
  /** Until a client has opened the streams that its session needs. */
  streamCreationMs: 30_000,
  /** A session on which nothing moves in either direction for so long is ended. */
  idleMs: 4 * 3_600_000,
  /** After the end of a session: until the client has closed its side. */
  lingerMs: 10_000,
  /** Until the head of an HTTP request has to be there. */
  headMs: 10_000,
  /** Bytes of one session that wait for a slow reader before the client's socket is no longer read. */
  bufferedBytes: 1024 * 1024,
  /** How often it is tried whether a client that is not read is still there. */
  probeMs: 1_000,
  /** A write to the client is cut into frames of at most this. */
  frameBytes: 64 * 1024,
  /** Body of an SPDY control frame. */
  controlBytes: 32 * 1024,
  /** Headers of one stream when inflated. */
  headerBytes: 64 * 1024,
  headerPairs: 64,
  /** SPDY streams of one session at once: two a forwarded connection. */
  spdyStreams: 2_000,
  /** One WebSocket message. */
  messageBytes: 4 * 1024 * 1024,
  /** A message on the resize channel. */
  resizeBytes: 1024,
} as const

// SPDX-License-Identifier: Apache-2.0
/**
 * What a streaming session is to do, as plain data: the engine makes it, the stream worker carries it out. An
 * exec's process has the environment of its container in it: it is for no log.
 */
import type { RuntimeKind } from './facts.ts'

export type StreamPlan =
  | {
      readonly is: 'exec'
      /** The container's, for messages. */
      readonly label: string
      /** Socket of the container's monitor. */
      readonly control: string
      /** OCI process document. */
      readonly process: object
      /** Whose words a refusal is in. */
      readonly runtime: RuntimeKind
    }
  | { readonly is: 'attach'; readonly label: string; readonly control: string }
  | {
      readonly is: 'forward'
      readonly pod: string
      /** Undefined: the pod is on the network of the node. */
      readonly netns: string | undefined
    }

/** Which streams a client may open. */
export interface StreamFlags {
  readonly stdin: boolean
  readonly stdout: boolean
  readonly stderr: boolean
  readonly tty: boolean
}

/** What one client may do, once. */
export interface StreamTicket extends StreamFlags {
  readonly kind: 'exec' | 'attach' | 'portforward'
  /** Ports that a port-forward may name; any if empty. */
  readonly ports: readonly number[]
  readonly plan: StreamPlan
}

/** Times of the stream worker, in milliseconds. */
export const STREAM_WORKER = {
  /** Without a session and without a token that waits: then it ends. */
  idleMs: 60_000,
  /** From its start until it says where it listens. */
  startMs: 20_000,
  /** How long the daemon, when it ends, waits for a worker that has nothing to do. */
  leaveMs: 2_000,
  /** How long an exec on a terminal waits to hear how large it is. */
  firstSizeMs: 100,
  /** Of V8, MiB; buffers are outside of it. */
  heapMib: 128,
} as const

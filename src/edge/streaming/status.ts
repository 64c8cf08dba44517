// SPDX-License-Identifier: Apache-2.0
/**
 * What the error stream says at the end of a session. From version 4 of the protocol on it is a Status object of
 * the Kubernetes API, before that plain text, and nothing at all means success. Pure.
 */
import type { SessionEnd } from './channels.ts'

/** `json`: v4 and later. */
export function statusText(end: SessionEnd, json: boolean): string {
  if (!json) return plain(end)
  switch (end.is) {
    case 'success':
      return JSON.stringify({ metadata: {}, status: 'Success' })
    case 'exit':
      return JSON.stringify({
        metadata: {},
        status: 'Failure',
        message: plain(end),
        reason: 'NonZeroExitCode',
        details: { causes: [{ reason: 'ExitCode', message: `${end.code}` }] },
      })
    case 'failure':
      return JSON.stringify({
        metadata: {},
        status: 'Failure',
        message: end.message,
        reason: 'InternalError',
        details: { causes: [{ message: end.message }] },
        code: 500,
      })
    default:
      return end satisfies never
  }
}

function plain(end: SessionEnd): string {
  if (end.is === 'success') return ''
  return end.is === 'exit'
    ? `command terminated with non-zero exit code: exit status ${end.code}`
    : end.message
}

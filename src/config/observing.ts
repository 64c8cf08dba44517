// SPDX-License-Identifier: Apache-2.0
/** The options of what watches the daemon: metrics, traces, watchdog. A part of the one list, schema.ts. */
import { metricsAddressProblem, OBSERVE } from '../model/observe.ts'
import { fileProblem, integer, millis, text } from './option.ts'

export const observing = {
  'metrics.address': text(
    '',
    {
      help: 'Where Prometheus finds `/metrics`: a loopback address with a port, as `127.0.0.1:9464`, or `unix:///path`; empty: nowhere. A process of its own serves it. See [observability.md](observability.md).',
    },
    metricsAddressProblem,
  ),
  'metrics.tls_cert_file': text(
    '',
    {
      help: 'Certificate (PEM) for it, with `metrics.tls_key_file`; empty: no TLS. Changed files are taken without a restart.',
    },
    fileProblem,
  ),
  'metrics.tls_key_file': text('', { help: 'The private key of that certificate (PEM).' }, fileProblem),
  'metrics.tls_client_ca_file': text(
    '',
    { help: 'Authorities (PEM) of which a scraper must show a certificate; empty: anybody on the node.' },
    fileProblem,
  ),
  'traces.endpoint': text(
    '',
    {
      help: 'The collector that traces are sent to, OTLP over HTTP as JSON: `http://127.0.0.1:4318`; without a path `/v1/traces` is meant. Empty: none.',
    },
    endpointProblem,
  ),
  'traces.sample_percent': integer(
    100,
    { min: 0, max: 100 },
    {
      help: 'How many of the traces that begin here are sent. A call that carries a trace of its caller follows that.',
    },
  ),
  'watchdog.job_ms': millis(
    OBSERVE.stuckMs,
    { min: 0, max: 24 * 3_600_000 },
    {
      help: 'A call, or a step of the daemon itself, that takes longer is told in the log, once, with the step it is in; 0: none is.',
    },
  ),
} as const

function endpointProblem(s: string): string | undefined {
  if (s === '') return undefined
  const url = URL.canParse(s) ? new URL(s) : undefined
  if (url?.username || url?.password) return 'a URL with a user or password in it would be shown and logged'
  return url && /^https?:$/.test(url.protocol)
    ? undefined
    : `${JSON.stringify(s)} is not a URL as "http://127.0.0.1:4318"`
}

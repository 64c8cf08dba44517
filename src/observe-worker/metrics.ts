// SPDX-License-Identifier: Apache-2.0
/**
 * The metrics: their names, their help, and what is counted in them. Labels have values from fixed tables only
 * (methods, codes, acts, phases), and a bound besides: what is beyond it counts as `other`. Knows no socket.
 */
import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import { type DaemonState, type EndedStage, type EndedTask, GAUGES, type GaugeName } from './protocol.ts'

const RPC_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120]
const STAGE_BUCKETS = [0.0005, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60]
/** Different values of one label. */
const VALUES = 128
const CODES = [
  'OK',
  'Canceled',
  'Unknown',
  'InvalidArgument',
  'DeadlineExceeded',
  'NotFound',
  'AlreadyExists',
  'PermissionDenied',
  'ResourceExhausted',
  'FailedPrecondition',
  'Aborted',
  'OutOfRange',
  'Unimplemented',
  'Internal',
  'Unavailable',
  'DataLoss',
  'Unauthenticated',
]

/** The name of a gRPC status, as Go programs have it. */
export const codeName = (code: number): string => CODES[code] ?? 'Unknown'

export interface Metrics {
  task(ended: EndedTask): void
  stage(ended: EndedStage): void
  /** Replaces the gauges. */
  state(state: DaemonState): void
  readonly dropped: { inc(by: number): void }
  readonly spans: { exported(by: number): void; dropped(by: number): void }
  /** The exposition. */
  text(): Promise<string>
}

/** Lets through what looks like a name, and only so many of them. */
function bounded(): (value: string) => string {
  const known = new Set<string>()
  return (value) => {
    if (known.has(value)) return value
    if (known.size >= VALUES || !/^[A-Za-z][\w.-]{0,63}$/.test(value)) return 'other'
    known.add(value)
    return value
  }
}

/** All from zero, of a daemon of that version. */
export function metrics(version: string): Metrics {
  const registers = [new Registry()]
  const counter = (name: string, help: string) => new Counter({ name, help, registers })
  const gauge = <L extends string>(name: string, help: string, labelNames: L[] = []) =>
    new Gauge<L>({ name, help, labelNames, registers })
  const rpc = new Histogram({
    name: 'gantry_rpc_duration_seconds',
    help: 'Calls of the CRI and of the gantry commands, by method and gRPC code.',
    labelNames: ['method', 'code'],
    buckets: RPC_BUCKETS,
    registers,
  })
  const stage = new Histogram({
    name: 'gantry_stage_duration_seconds',
    help: 'Acts on the host and other stages of a piece of work.',
    labelNames: ['work', 'stage', 'outcome'],
    buckets: STAGE_BUCKETS,
    registers,
  })
  const phases = {
    pods: gauge('gantry_pods', 'Pods by state.', ['state']),
    containers: gauge('gantry_containers', 'Containers by state.', ['state']),
    images: gauge('gantry_images', 'Images by state.', ['state']),
  }
  const lag = gauge('gantry_event_loop_lag_seconds', 'How late timers were since the last scrape.', [
    'quantile',
  ])
  const values = Object.entries(GAUGES).map(([name, help]) => [name as GaugeName, gauge(name, help)] as const)
  const dropped = counter('gantry_observations_dropped_total', 'Calls and stages that were not counted.')
  const cpu = counter('gantry_process_cpu_seconds_total', 'Processor time of the daemon.')
  let cpuSeen = 0
  const exported = counter('gantry_trace_spans_exported_total', 'Spans that the collector has taken.')
  const lost = counter('gantry_trace_spans_dropped_total', 'Spans that were given up.')
  gauge('gantry_build_info', 'Version of the daemon; the value is 1.', ['version']).set({ version }, 1)
  const [methodOf, workOf, stageOf] = [bounded(), bounded(), bounded()]
  return {
    task: ({ name, code, beganMs, endedMs }) =>
      rpc.observe({ method: methodOf(name), code: codeName(code) }, (endedMs - beganMs) / 1000),
    stage: ({ work, name, fault, beganMs, endedMs }) =>
      stage.observe(
        { work: workOf(work), stage: stageOf(name), outcome: fault === '' ? 'ok' : 'error' },
        (endedMs - beganMs) / 1000,
      ),
    state(state) {
      for (const kind of ['pods', 'containers', 'images'] as const) {
        phases[kind].reset()
        for (const [name, count] of Object.entries(state[kind])) phases[kind].set({ state: name }, count)
      }
      for (const [quantile, seconds] of Object.entries(state.loopLag)) lag.set({ quantile }, seconds)
      cpu.inc(Math.max(0, state.cpuSeconds - cpuSeen))
      cpuSeen = state.cpuSeconds
      for (const [name, one] of values) one.set(state.values[name])
    },
    dropped: { inc: (by) => dropped.inc(by) },
    spans: { exported: (by) => exported.inc(by), dropped: (by) => lost.inc(by) },
    text: () => registers[0]?.metrics() ?? Promise.resolve(''),
  }
}

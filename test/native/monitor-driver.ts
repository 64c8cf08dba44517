// SPDX-License-Identifier: Apache-2.0
/** Stands in for the daemon: starts the monitor that argv[2] describes, says its pid, and waits to be killed. */

import { type MonitorOptions, startMonitor } from '../../src/host/monitor/spawn.ts'
import { deps, scope } from './monitor-fixture.ts'

const options: MonitorOptions = JSON.parse(process.argv[2] ?? '{}')
const monitor = await startMonitor(scope, deps, options)
console.log(JSON.stringify({ monitorPid: monitor.monitorPid }))
await monitor.closed

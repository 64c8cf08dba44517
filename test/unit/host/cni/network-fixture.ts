// SPDX-License-Identifier: Apache-2.0
/** A network of two played plugins over real folders, and the pod that its tests attach. */
import { join } from 'node:path'
import { createNetwork, type PodNetworkRequest } from '../../../../src/host/cni/network.ts'
import { type Answer, type Call, cniDirs, fakeNative, fakeRun, memoryLog, scopeOf } from './fixture.ts'

export const request: PodNetworkRequest = {
  podId: 'p1',
  netns: '/netns/p1',
  podName: 'web',
  podNamespace: 'default',
  podUid: 'u1',
  portMappings: [{ protocol: 'tcp', containerPort: 80, hostPort: 8080 }],
  annotations: { note: '5n' },
}
export const conf = (version: string, extra: object = {}) => ({
  cniVersion: version,
  name: 'net',
  plugins: [
    { type: 'first', ipam: { type: 'ipam' } },
    { type: 'second', capabilities: { portMappings: true } },
  ],
  ...extra,
})
export const eth0 = (address: string) => ({
  interfaces: [{ name: 'eth0', sandbox: '/netns/p1' }],
  ips: [{ address, interface: 0 }],
})

/** `first` gives 10.0.0.2, `second` passes it on with a mark; `spoil` may change what one call answers. */
export async function setUp(
  options: { conf?: object; spoil?: (call: Call) => Answer | undefined; netns?: (p: string) => boolean } = {},
) {
  const dirs = await cniDirs(['first', 'second', 'ipam'], options.conf ?? conf('1.0.0'))
  const log = memoryLog()
  const played = fakeRun((call) => {
    const spoilt = options.spoil?.(call)
    if (spoilt) return spoilt
    if (call.command !== 'ADD') return {}
    const prev = call.input.prevResult
    return {
      stdout: {
        cniVersion: call.input.cniVersion,
        ...eth0('10.0.0.2/24'),
        ...(prev ? { passedOn: true } : {}),
      },
    }
  })
  const network = createNetwork(
    { native: fakeNative(options.netns), log, run: played.run },
    { confDir: dirs.confDir, binDirs: ['/nowhere', dirs.binDir] },
  )
  return {
    ...dirs,
    log,
    calls: played.calls,
    network,
    scope: scopeOf(log),
    record: join(dirs.stateDir, 'cni.json'),
  }
}
export const names = (calls: readonly Call[]) => calls.map((c) => `${c.command} ${c.plugin}`)

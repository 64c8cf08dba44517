// SPDX-License-Identifier: Apache-2.0
/** network: reads what judge-network.ts judges: the CNI configuration as the daemon would, and the machine's own part. */
import { readFile } from 'node:fs/promises'
import type { Config } from '../../config/schema.ts'
import type { NetworkList } from '../../host/cni/conf.ts'
import { missingPrograms } from '../../host/cni/readiness.ts'
import { BUILT_IN, createSource } from '../../host/cni/source.ts'
import { findProgram } from '../../runtimes.ts'
import type { NetworkView } from './view.ts'

const sysctl = async (name: string): Promise<string> =>
  (await readFile(`/proc/sys/${name}`, 'utf8').catch(() => '')).trim()

/** Reads everything; changes nothing. Does not throw for what the machine lacks. @abort finishes */
export async function readNetwork({ cni }: Config): Promise<NetworkView> {
  const source = createSource({
    confDir: cni.confDir,
    defaultNetwork: cni.defaultNetwork
      ? { bridge: cni.defaultBridge, subnets: [cni.defaultSubnet] }
      : undefined,
  })
  const { list, from, problems } = await source.current()
  const filter = await sysctl('net/bridge/bridge-nf-call-iptables')
  return {
    confDir: cni.confDir,
    binDirs: cni.binDirs,
    name: list?.name,
    from: from ?? '',
    builtIn: from === BUILT_IN,
    problems,
    plugins: list === undefined ? [] : [...new Set(list.plugins.flatMap((p) => [p.type, ...p.delegates]))],
    missing: list === undefined ? [] : await missingPrograms(cni.binDirs, list),
    ...needsOf(list),
    iptables: (await findProgram('iptables')) !== undefined,
    nft: (await findProgram('nft')) !== undefined,
    ipForward: (await sysctl('net/ipv4/ip_forward')) === '1',
    bridgeNfCall: filter === '' ? undefined : filter === '1',
  }
}

/** What the standard plugins do with such a configuration. */
export function needsOf(
  list: Pick<NetworkList, 'plugins'> | undefined,
): Pick<NetworkView, 'needsIptables' | 'gatewayBridge'> {
  const plugins = list?.plugins ?? []
  const byNft = (raw: Readonly<Record<string, unknown>>): boolean =>
    raw.ipMasqBackend === 'nftables' || raw.backend === 'nftables'
  return {
    needsIptables: plugins.some(
      (p) => !byNft(p.raw) && (p.raw.ipMasq === true || p.type === 'portmap' || p.type === 'firewall'),
    ),
    gatewayBridge: plugins.some(
      (p) => p.type === 'bridge' && (p.raw.isGateway === true || p.raw.isDefaultGateway === true),
    ),
  }
}

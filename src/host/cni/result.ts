// SPDX-License-Identifier: Apache-2.0
/**
 * Results of ADD: their check, their form in the version of the list, and what the pod's addresses are. Pure.
 * A result is passed on as it came except for what another version forbids or demands, so that a plugin's own
 * fields survive the chain.
 */
import { isIP } from 'node:net'
import { Fault } from '../../base/fault.ts'
import { asArray, asObject, asString, type JsonObject } from './json.ts'
import { atLeast, type CniVersion, isVersion } from './versions.ts'

export interface ResultInterface {
  readonly name: string
  readonly mac: string | undefined
  /** Path of the network namespace it is in; undefined: on the host. */
  readonly sandbox: string | undefined
}

export interface Addresses {
  /** Of the pod, primary first, without prefix length. */
  readonly ips: readonly string[]
  /** Those that have one, with the length of their prefix. */
  readonly subnets: readonly string[]
  readonly interfaces: readonly ResultInterface[]
}

/** Fields of an interface and of a route that came with 1.1.0. */
const NEW_INTERFACE_FIELDS = ['mtu', 'socketPath', 'pciID']
const NEW_ROUTE_FIELDS = ['mtu', 'advmss', 'priority', 'table', 'scope']

/**
 * A plugin's result in the version of the list. Without `cniVersion` it counts as being in that version; the
 * formats before 0.3.0 (`ip4`, `ip6`) are refused. Throws Fault('internal').
 */
export function convertResult(result: JsonObject, to: CniVersion): JsonObject {
  const from = result.cniVersion === undefined || result.cniVersion === '' ? to : result.cniVersion
  if (typeof from !== 'string' || !isVersion(from)) {
    throw new Fault('internal', `its result is of version ${JSON.stringify(from)}, not ${to}`)
  }
  if (result.ip4 !== undefined || result.ip6 !== undefined) {
    throw new Fault('internal', `its result has the form from before version 0.3.0, not of ${to}`)
  }
  if (from === to) return { ...result, cniVersion: to }
  const out: Record<string, unknown> = { ...result, cniVersion: to }
  const ips = asArray(result.ips)
  if (ips) out.ips = ips.map((ip) => convertIp(ip, to))
  if (!atLeast(to, '1.1.0')) {
    drop(out, 'interfaces', NEW_INTERFACE_FIELDS)
    drop(out, 'routes', NEW_ROUTE_FIELDS)
  }
  return out
}

function convertIp(value: unknown, to: CniVersion): unknown {
  const ip = asObject(value)
  if (!ip) return value
  const { version: _, ...rest } = ip
  if (atLeast(to, '1.0.0')) return rest
  return { version: asString(ip.address)?.includes(':') ? '6' : '4', ...rest }
}

function drop(out: Record<string, unknown>, key: string, fields: readonly string[]): void {
  const list = asArray(out[key])
  if (!list) return
  out[key] = list.map((entry) => {
    const o = asObject(entry)
    return o ? Object.fromEntries(Object.entries(o).filter(([name]) => !fields.includes(name))) : entry
  })
}

/**
 * The pod's addresses in the final result: those of interfaces inside the sandbox, the one named `ifName`
 * first; an address that names no interface is the pod's too. Throws Fault('internal') when the result
 * contradicts itself or holds no address for the pod.
 */
export function addresses(result: JsonObject, ifName: string): Addresses {
  const interfaces = (asArray(result.interfaces) ?? []).map(parseInterface)
  const first: string[] = []
  const others: string[] = []
  const subnets: string[] = []
  for (const [i, value] of (asArray(result.ips) ?? []).entries()) {
    const ip = asObject(value)
    const whole = asString(ip?.address) ?? ''
    const address = whole.split('/')[0] ?? ''
    if (!ip || isIP(address) === 0) throw broken(`ips[${i}] has no valid address`)
    const index = ip.interface
    if (index === undefined || index === null) {
      first.push(address)
      subnets.push(whole)
      continue
    }
    const on = typeof index === 'number' ? interfaces[index] : undefined
    if (!on) throw broken(`ips[${i}] names interface ${JSON.stringify(index)} of ${interfaces.length}`)
    if (on.sandbox === undefined) continue
    const mine = on.name === ifName ? first : others
    mine.push(address)
    subnets.push(whole)
  }
  const ips = [...new Set([...first, ...others])]
  if (ips.length === 0) throw broken(`it gives ${ifName} of the pod no address`)
  return { ips, subnets: [...new Set(subnets.filter(isSubnet))], interfaces }
}

function isSubnet(text: string): boolean {
  const [address = '', length = ''] = text.split('/')
  const bits = { 0: 0, 4: 32, 6: 128 }[isIP(address)] ?? 0
  return /^\d{1,3}$/.test(length) && Number(length) <= bits && !address.includes('%')
}

function parseInterface(value: unknown, index: number): ResultInterface {
  const o = asObject(value)
  const name = asString(o?.name)
  if (!o || !name) throw broken(`interfaces[${index}] has no name`)
  return { name, mac: asString(o.mac) || undefined, sandbox: asString(o.sandbox) || undefined }
}

function broken(why: string): Fault {
  return new Fault('internal', `the result of the network is unusable: ${why}`)
}

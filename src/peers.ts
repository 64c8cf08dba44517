// SPDX-License-Identifier: Apache-2.0
/**
 * Who may talk to the daemon: root, and members of the configured group. The mode of the socket says so
 * already; SO_PEERCRED says it again for a descriptor that was passed on.
 */
import { readFile } from 'node:fs/promises'
import type { Socket } from 'node:net'
import { Fault } from './base/fault.ts'
import type { Log } from './base/log.ts'
import type { Native } from './host/native.ts'

/** gid of a group by number or name in /etc/group. Throws `invalid`. */
export async function groupId(nameOrNumber: string): Promise<number> {
  if (/^\d+$/.test(nameOrNumber)) return Number(nameOrNumber)
  const line = (await readFile('/etc/group', 'utf8'))
    .split('\n')
    .find((l) => l.startsWith(`${nameOrNumber}:`))
  const gid = Number(line?.split(':')[2])
  if (line && Number.isInteger(gid)) return gid
  throw new Fault('invalid', `socket_group: the group "${nameOrNumber}" is not in /etc/group`)
}

function groupsOf(native: Native, pid: number): readonly number[] {
  const [status] = native.readMany([`/proc/${pid}/status`])
  if (!(status instanceof Buffer)) return []
  const groups = /^Groups:\s*(.*)$/m.exec(status.toString('latin1'))?.[1] ?? ''
  return groups
    .split(' ')
    .filter((g) => g !== '')
    .map(Number)
}

/** The descriptor of a node socket: node has no public way to it. */
function descriptor(socket: Socket): number {
  const handle: unknown = Reflect.get(socket, '_handle')
  const fd: unknown = typeof handle === 'object' && handle !== null ? Reflect.get(handle, 'fd') : undefined
  return typeof fd === 'number' ? fd : -1
}

export function allowPeer(native: Native, options: { gid: number; log: Log }): (socket: Socket) => boolean {
  return (socket) => {
    try {
      const peer = native.peerCred(descriptor(socket))
      if (peer.uid === 0 || peer.gid === options.gid || groupsOf(native, peer.pid).includes(options.gid))
        return true
      options.log.warn('peer-refused', { uid: peer.uid, gid: peer.gid, pid: peer.pid })
    } catch (e) {
      options.log.warn('peer-refused', { error: e instanceof Error ? e.message : String(e) })
    }
    return false
  }
}

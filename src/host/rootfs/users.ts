// SPDX-License-Identifier: Apache-2.0
/**
 * Who a process in a rootfs is: passwd and group are read from the layer folders, as overlayfs will show them (no link
 * leads out), so that nothing has to be mounted yet. The file formats are passwd(5) and
 * group(5); a line that does not parse is passed over, as the C library does.
 */
import { basename, dirname } from 'node:path'
import { errnoCode, Fault } from '../../base/fault.ts'
import { clip } from '../../model/ids.ts'
import { LIMITS } from '../../model/limits.ts'
import type { ProcessUser, RequestedUser } from '../../model/security.ts'
import type { Native } from '../native.ts'
import { findInLayers } from './layers.ts'

interface PasswdEntry {
  readonly name: string
  readonly uid: number
  readonly gid: number
  readonly home: string
}
interface GroupEntry {
  readonly name: string
  readonly gid: number
  readonly members: readonly string[]
}

const id = (text: string | undefined) =>
  text !== undefined && /^\d{1,10}$/.test(text) ? Number(text) : undefined

export function parsePasswd(text: string): readonly PasswdEntry[] {
  return text.split('\n').flatMap((line) => {
    const [name, , uidText, gidText, , home] = line.split(':')
    const [uid, gid] = [id(uidText), id(gidText)]
    return name && uid !== undefined && gid !== undefined ? [{ name, uid, gid, home: home || '/' }] : []
  })
}

export function parseGroup(text: string): readonly GroupEntry[] {
  return text.split('\n').flatMap((line) => {
    const [name, , gidText, members] = line.split(':')
    const gid = id(gidText)
    return name && gid !== undefined
      ? [{ name, gid, members: (members ?? '').split(',').filter((m) => m !== '') }]
      : []
  })
}

/** The text of a file as the stacked layers show it; '' if there is none. */
async function readFromLayers(native: Native, lowerDirs: readonly string[], path: string): Promise<string> {
  const found = await findInLayers(native, lowerDirs, path)
  if (found === undefined) return ''
  try {
    return native.readInRoot(dirname(found), `/${basename(found)}`, LIMITS.smallFileBytes).toString('utf8')
  } catch (e) {
    if (errnoCode(e) === 'EFBIG')
      throw new Fault('exhausted', `${path} in the image is larger than ${LIMITS.smallFileBytes} bytes`)
    throw e
  }
}

const toId = (name: string, value: bigint): number => {
  if (value < 0n || value > 0xffff_fffen)
    throw new Fault('invalid', `${name} ${value} is not a user or group id`)
  return Number(value)
}

export interface UserFiles {
  readonly passwd: readonly PasswdEntry[]
  readonly group: readonly GroupEntry[]
}

/**
 * The identity for a request over an image's USER (`user`, `uid`, `user:group`, `uid:gid` or empty).
 * Throws `invalid` for a name that the image does not know and for a group without a user.
 */
export function resolveUser(requested: RequestedUser, imageUser: string, files: UserFiles): ProcessUser {
  const asked = requested.uid !== undefined || requested.name !== ''
  if (!asked && requested.gid !== undefined) {
    throw new Fault('invalid', 'run_as_group needs run_as_user or run_as_username')
  }
  const separator = imageUser.indexOf(':')
  const imagePart = separator < 0 ? imageUser : imageUser.slice(0, separator)
  const imageGroup = separator < 0 ? '' : imageUser.slice(separator + 1)
  const userText =
    requested.uid !== undefined ? String(toId('run_as_user', requested.uid)) : requested.name || imagePart
  const byNumber = id(userText)
  const entry =
    files.passwd.find((p) => p.name === userText) ??
    (byNumber === undefined ? undefined : files.passwd.find((p) => p.uid === byNumber))
  const byName = requested.uid === undefined && requested.name !== ''
  if (userText !== '' && !entry && (byNumber === undefined || byName)) {
    throw new Fault('invalid', `user "${clip(userText)}" is not in the image's /etc/passwd`)
  }
  const uid = entry?.uid ?? byNumber ?? 0
  let gid = entry?.gid ?? 0
  if (requested.gid !== undefined) gid = toId('run_as_group', requested.gid)
  else if (!asked && imageGroup !== '') {
    const group = files.group.find((g) => g.name === imageGroup)?.gid ?? id(imageGroup)
    if (group === undefined)
      throw new Fault('invalid', `group "${clip(imageGroup)}" is not in the image's /etc/group`)
    gid = group
  }
  const memberships =
    requested.groupsPolicy === 'merge' && entry
      ? files.group.filter((g) => g.members.includes(entry.name)).map((g) => g.gid)
      : []
  const extra = requested.supplementalGroups.map((g) => toId('supplemental_groups', g))
  const additionalGids = [...new Set([gid, ...memberships, ...extra])].sort((a, b) => a - b)
  const root = userText === '' ? files.passwd.find((p) => p.uid === 0) : undefined
  const home = (entry ?? root)?.home ?? (uid === 0 ? '/root' : '/')
  if (home.includes('\n')) throw new Fault('invalid', `the home folder of uid ${uid} has a newline in it`)
  return { uid, gid, additionalGids, home }
}

/** `resolveUser` over the files of an image's layers. @abort finishes */
export async function userInLayers(
  native: Native,
  lowerDirs: readonly string[],
  asked: { readonly requested: RequestedUser; readonly imageUser: string },
): Promise<ProcessUser> {
  const [passwd, group] = await Promise.all(
    ['/etc/passwd', '/etc/group'].map((path) => readFromLayers(native, lowerDirs, path)),
  )
  return resolveUser(asked.requested, asked.imageUser, {
    passwd: parsePasswd(passwd ?? ''),
    group: parseGroup(group ?? ''),
  })
}

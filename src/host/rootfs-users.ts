// SPDX-License-Identifier: Apache-2.0
/**
 * Who a process in a rootfs is: passwd and group are read from the layer folders, topmost first, inside each
 * layer's root (no link leads out), so that nothing has to be mounted yet. The file formats are passwd(5) and
 * group(5); a line that does not parse is passed over, as the C library does.
 */
import { errnoCode, Fault } from '../base/fault.ts'
import { clip } from '../model/ids.ts'
import { LIMITS } from '../model/limits.ts'
import type { ProcessUser, RequestedUser } from '../model/security.ts'
import type { Native } from './native.ts'

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

/** The file as the stacked layers show it; undefined if no layer has it, or a whiteout hides it. */
export function readFromLayers(
  native: Native,
  lowerDirs: readonly string[],
  path: string,
): string | undefined {
  for (const layer of lowerDirs) {
    try {
      return native.readInRoot(layer, path, LIMITS.smallFileBytes).toString('utf8')
    } catch (e) {
      if (errnoCode(e) === 'ENOENT' || errnoCode(e) === 'ENOTDIR') continue
      if (errnoCode(e) === 'EFBIG')
        throw new Fault('exhausted', `${path} in the image is larger than ${LIMITS.smallFileBytes} bytes`)
      return undefined
    }
  }
  return undefined
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
  if (userText !== '' && !entry && byNumber === undefined) {
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

/** `resolveUser` over the files of an image's layers. */
export function userInLayers(
  native: Native,
  lowerDirs: readonly string[],
  requested: RequestedUser,
  imageUser: string,
): ProcessUser {
  return resolveUser(requested, imageUser, {
    passwd: parsePasswd(readFromLayers(native, lowerDirs, '/etc/passwd') ?? ''),
    group: parseGroup(readFromLayers(native, lowerDirs, '/etc/group') ?? ''),
  })
}

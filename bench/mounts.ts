// SPDX-License-Identifier: Apache-2.0
/**
 * Mounts: what is mounted below a folder, so that no folder is removed through a mount into something that is
 * not the bench's.
 */
import { readFile } from 'node:fs/promises'

/** The mount points below `folder`, the deepest and newest first. */
export async function mountsBelow(folder: string): Promise<string[]> {
  const lines = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n')
  const paths = lines.map((line) => line.split(' ')[4] ?? '')
  return paths.filter((path) => path.startsWith(`${folder}/`)).reverse()
}

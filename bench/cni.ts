// SPDX-License-Identifier: Apache-2.0
/**
 * CNI: one bridge network list with its addresses kept in the bench's own folder. Every runtime that the bench
 * starts gets the same file, so that the pod network costs both the same.
 */
import { execFile } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'

const BRIDGE = 'gtbench0'
export const CNI_PLUGINS = '/usr/lib/cni'

/** Writes the network list below `folder` and returns the folder that holds it. */
export async function writeNetwork(folder: string): Promise<string> {
  const conf = join(folder, 'cni')
  await mkdir(conf, { recursive: true })
  const list = {
    cniVersion: '1.0.0',
    name: 'gantry-bench',
    plugins: [
      {
        type: 'bridge',
        bridge: BRIDGE,
        isGateway: true,
        ipMasq: true,
        ipam: {
          type: 'host-local',
          ranges: [[{ subnet: '10.213.0.0/20' }]],
          routes: [{ dst: '0.0.0.0/0' }],
          dataDir: join(folder, 'ipam'),
        },
      },
    ],
  }
  await writeFile(join(conf, '10-bench.conflist'), JSON.stringify(list, undefined, 2))
  return conf
}

/** Removes the bridge that the plugin leaves behind. Not being there is fine. */
export async function removeNetwork(): Promise<void> {
  await promisify(execFile)('ip', ['link', 'delete', BRIDGE]).catch(() => {}) // no pod network was used
}

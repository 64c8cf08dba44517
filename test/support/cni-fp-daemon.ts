// SPDX-License-Identifier: Apache-2.0
/**
 * A daemon that does nothing but attach one pod, to be killed in the middle of it.
 * argv: conf folder, plugin folder, state folder, path of the network namespace.
 */

import { silent } from '../../src/base/log.ts'
import { createNetwork } from '../../src/host/cni/network.ts'
import { addon, openScope } from './cni-fp.ts'

const [, , confDir = '', binDir = '', stateDir = '', netns = ''] = process.argv
const network = createNetwork({ native: addon(), log: silent }, { confDir, binDirs: [binDir] })
await network.attach(
  openScope(),
  { podId: 'gtpod', netns, podName: 'n', podNamespace: 's', podUid: 'u', portMappings: [], annotations: {} },
  stateDir,
)

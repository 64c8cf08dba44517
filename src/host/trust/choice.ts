// SPDX-License-Identifier: Apache-2.0
/**
 * Which signature policy counts for a pull: the one of the pod's namespace if there is one, else the node's.
 * Asked by the daemon before the pull, so that pulls under different policies are never taken for one. Only
 * looks whether a file is there; its content is for who verifies.
 */
import { lstat } from 'node:fs/promises'
import { join } from 'node:path'
import { errnoCode, Fault } from '../../base/fault.ts'
import { clip } from '../../model/ids.ts'
import type { TrustFiles, TrustSettings } from '../../model/trust-settings.ts'

/** A file name and nothing else. Kubernetes allows less, but other clients have names of their own. */
const NAMESPACE = /^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$/

/** The policy for a pull for a pod of `namespace`; without a namespace the node's. Throws `invalid`. @abort finishes */
export async function choosePolicy(files: TrustFiles, namespace: string): Promise<TrustSettings> {
  const { namespaceDir, ...node } = files
  if (namespace === '') return node
  if (!NAMESPACE.test(namespace))
    throw new Fault(
      'invalid',
      `"${clip(namespace)}" is not the name of a namespace, so that no signature policy can be found for it`,
    )
  const own = join(namespaceDir, `${namespace}.json`)
  try {
    // A link that leads nowhere is a policy that cannot be read, not one that is not there.
    await lstat(own)
    return { ...node, policyFile: own, required: true }
  } catch (e) {
    if (errnoCode(e) === 'ENOENT') return node
    throw new Fault('invalid', `the signature policy ${own} cannot be read: ${errnoCode(e) ?? 'unknown'}`, {
      cause: e,
    })
  }
}

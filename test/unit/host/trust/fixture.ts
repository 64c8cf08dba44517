// SPDX-License-Identifier: Apache-2.0
/** What the tests of sigstore signatures begin with: one claim, a requirement for it, and the check of one signature. */
import type { KeyObject } from 'node:crypto'
import { sigstoreCheck } from '../../../../src/host/trust/sigstore.ts'
import type { SigstoreSigned, SigstoreSigner } from '../../../../src/model/trust-policy.ts'
import { type Claim, type CosignSignature, pemOf } from '../../../support/signing.ts'

export const claim: Claim = { digest: `sha256:${'a'.repeat(64)}`, reference: 'r.io/a:1' }
export const data = (text: string) => ({ data: Buffer.from(text).toString('base64') })
export const requirement = (signer: SigstoreSigner, rekor: readonly KeyObject[] = []): SigstoreSigned => ({
  type: 'sigstoreSigned',
  signer,
  rekor: rekor.map((key) => data(pemOf(key))),
  identity: { type: 'matchRepository' },
})
export const check = async (of: SigstoreSigned, signature: CosignSignature) =>
  (await sigstoreCheck(of))(signature)
export const good = { digest: claim.digest, reference: claim.reference }

// SPDX-License-Identifier: Apache-2.0
/** The files that decide whether a pulled image is trusted, as the operator named them, and those of one pull. */

/** What one pull is verified by. */
export interface TrustSettings {
  readonly policyFile: string
  /** That policy was chosen: it must be there. Otherwise a missing file accepts everything. */
  readonly required: boolean
  /** Says where signatures are looked for (containers-registries.d(5)). */
  readonly registriesDir: string
}

/** The policy of the node, and those of namespaces. */
export interface TrustFiles extends TrustSettings {
  /** Has `NAMESPACE.json` for each namespace with a policy of its own. */
  readonly namespaceDir: string
}

// SPDX-License-Identifier: Apache-2.0
/**
 * Platforms: what an image index offers, what this machine runs, and which offer is the best. Pure.
 */

export interface Platform {
  readonly os: string
  readonly architecture: string
  readonly variant?: string
  readonly osVersion?: string
}

/** Names as registries write them, from Node's `process.arch` and `uname -m`. */
const ARCHITECTURES: Readonly<Record<string, string>> = {
  x64: 'amd64',
  x86_64: 'amd64',
  'x86-64': 'amd64',
  arm64: 'arm64',
  aarch64: 'arm64',
  arm: 'arm',
  armhf: 'arm',
  armel: 'arm',
  ia32: '386',
  i386: '386',
  ppc64: 'ppc64le',
  riscv64: 'riscv64',
  s390x: 's390x',
}

/** The platform with the names that registries use and without variants that mean nothing (`arm64/v8`). */
export function normalPlatform(p: Platform): Platform {
  const spelled = p.architecture.toLowerCase()
  const architecture = ARCHITECTURES[spelled] ?? spelled
  let variant = (p.variant ?? '').toLowerCase()
  if (/^\d+$/.test(variant)) variant = `v${variant}`
  if (architecture === 'arm' && variant === '') variant = spelled === 'armel' ? 'v6' : 'v7'
  if (architecture === 'arm64' && variant === 'v8') variant = ''
  if (architecture === 'amd64' && variant === 'v1') variant = ''
  const os = p.os.toLowerCase()
  return { os, architecture, ...(variant === '' ? {} : { variant }) }
}

/** What runs on `host`, best first: an older variant of the same architecture runs on a newer one. */
function acceptable(host: Platform): Platform[] {
  const { os, architecture, variant } = normalPlatform(host)
  const older = (names: string[], own: string): Platform[] =>
    names
      .slice(Math.max(0, names.indexOf(own)))
      .map((v) => (v === '' ? { os, architecture } : { os, architecture, variant: v }))
  if (architecture === 'arm') return older(['v8', 'v7', 'v6', 'v5'], variant ?? 'v7')
  if (architecture === 'amd64') return older(['v4', 'v3', 'v2', ''], variant ?? '')
  if (architecture === 'arm64') {
    const plain: Platform[] = [
      { os, architecture },
      { os, architecture: 'arm', variant: 'v8' },
      { os, architecture: 'arm', variant: 'v7' },
    ]
    return variant === undefined ? plain : [{ os, architecture, variant }, ...plain]
  }
  return [variant === undefined ? { os, architecture } : { os, architecture, variant }]
}

/** How well an offer fits `host`: 0 is best, undefined does not run here. */
export function platformRank(host: Platform, offered: Platform): number | undefined {
  const offer = formatPlatform(normalPlatform(offered))
  const rank = acceptable(host).findIndex((p) => formatPlatform(p) === offer)
  return rank < 0 ? undefined : rank
}

/** `linux/arm/v7`. */
export function formatPlatform(p: Platform): string {
  return [p.os, p.architecture, p.variant].filter((part) => part !== undefined && part !== '').join('/')
}

/** The best of the offers for `host`; of equals the first. Undefined when none runs here. */
export function choosePlatform<T extends { readonly platform: Platform }>(
  host: Platform,
  offers: readonly T[],
): T | undefined {
  let best: { offer: T; rank: number } | undefined
  for (const offer of offers) {
    const rank = platformRank(host, offer.platform)
    if (rank !== undefined && (best === undefined || rank < best.rank)) best = { offer, rank }
  }
  return best?.offer
}

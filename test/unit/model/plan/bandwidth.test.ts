// SPDX-License-Identifier: Apache-2.0
/** Bandwidth annotations: Kubernetes' quantities in bits per second, or a refusal that names the annotation. */
import { expect, test } from 'vitest'
import { bandwidth } from '../../../../src/model/plan/bandwidth.ts'

const ingress = (text: string) => bandwidth({ 'kubernetes.io/ingress-bandwidth': text })

test.each([
  ['1k', 1_000n],
  ['10M', 10_000_000n],
  ['1.5M', 1_500_000n],
  ['1Gi', 1_073_741_824n],
  ['0.5Ki', undefined],
  ['2000', 2_000n],
  ['1P', 1_000_000_000_000_000n],
])('%s is %s bits per second', (text, bits) => {
  if (bits === undefined) expect(() => ingress(text)).toThrow(/not within/)
  else expect(ingress(text)).toEqual({ ingressBps: bits })
})

test.each(['', 'fast', '1x', '-1M', '1 M', '1e6', '10MB', '1M;rm'])('"%s" is refused by name', (text) => {
  expect(() => ingress(text)).toThrow(/annotations\["kubernetes\.io\/ingress-bandwidth"\].*is not a quantity/)
})

test.each(['999', '2P', '0'])('%s is out of range', (text) => {
  expect(() => ingress(text)).toThrow(/not within 1k and 1P/)
})

test('both ways, one way, and none at all', () => {
  const egress = { 'kubernetes.io/egress-bandwidth': '1M' }
  expect(bandwidth({ ...egress, 'kubernetes.io/ingress-bandwidth': '2M' })).toEqual({
    ingressBps: 2_000_000n,
    egressBps: 1_000_000n,
  })
  expect(bandwidth(egress)).toEqual({ egressBps: 1_000_000n })
  expect(bandwidth({ other: '1M' })).toBeUndefined()
})

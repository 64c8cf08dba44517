// SPDX-License-Identifier: Apache-2.0
/** CDI devices of CreateContainer on the wire: by the field and by annotations. */
import { expect, test } from 'vitest'
import { decodeCreateContainer } from '../../../../src/edge/cri/decode/container.ts'
import type { v1 } from '../../../../src/edge/cri/gen/api.js'

const decode = (config: v1.ContainerConfig.$Properties) =>
  decodeCreateContainer({
    podSandboxId: 'abc',
    config: { metadata: { name: 'app' }, image: { image: 'r.test/a:1' }, ...config },
  }).config
const annotations = {
  'cdi.k8s.io/plugin_x': 'v.com/gpu=1,v.com/gpu=0',
  'cdi.k8s.io/y': 'w/c=d',
  note: 'a=b',
}

test('they come from the field, then from annotations, each once', () => {
  const config = decode({ CDIDevices: [{ name: 'v.com/gpu=0' }], annotations })
  expect(config.cdiDevices).toEqual(['v.com/gpu=0', 'v.com/gpu=1', 'w/c=d'])
  expect(config.annotations).toEqual(annotations)
  expect(decode({ annotations: { note: 'a=b' } }).cdiDevices).toBeUndefined()
})

test.each([
  [{ CDIDevices: [{ name: 'v.com/gpu=0' }, { name: 'gpu' }] }, /CDI_devices\[1\]\.name: "gpu" is not VENDOR/],
  [{ CDIDevices: [{}] }, /CDI_devices\[0\]\.name: "" is not/],
  [{ annotations: { 'cdi.k8s.io/x': 'v/c=d,' } }, /annotations\["cdi\.k8s\.io\/x"\]: "" is not/],
  [{ CDIDevices: Array(513).fill({ name: 'v/c=d' }) }, /CDI_devices: has more than 512/],
])('%# are refused by the place', (config, why) => {
  expect(() => decode(config)).toThrow(why)
  expect(() => decode(config)).toThrow(expect.objectContaining({ kind: 'invalid' }))
})

// SPDX-License-Identifier: Apache-2.0
/**
 * catalog: every test image by its whole reference: those that critest and the crictl suite ask for, and the
 * project's own under `gantry.test`. One list; `build.ts` writes it to disk, tests look names up in it.
 */
import type { AnyImage, Image, RunConfig } from '../support/oci-image.ts'
import { buildImage, buildIndex, hostArchitecture } from '../support/oci-image.ts'
import type { Layer } from '../support/oci-layer.ts'
import { buildLayer } from '../support/oci-layer.ts'
import type { Busybox } from './debian.ts'
import * as rootfs from './rootfs.ts'
import * as unpack from './unpack-layers.ts'

export interface NamedImage {
  readonly name: string
  readonly image: AnyImage
}

export interface Materials {
  readonly busybox: Busybox
  readonly nginx: ReadonlyMap<string, Buffer>
  readonly programs: ReadonlyMap<string, Buffer>
}

const e2e = 'registry.k8s.io/e2e-test-images'
const staging = 'gcr.io/k8s-staging-cri-tools'
const ecr = 'public.ecr.aws/docker/library/busybox'
const own = 'gantry.test'

/** References that tests name often. */
export const names = {
  busybox: `${e2e}/busybox:1.29-2`,
  nginx: `${e2e}/nginx:1.14-2`,
  httpd: `${e2e}/httpd:2.4.39-4`,
  nonewprivs: `${e2e}/nonewprivs:1.3`,
  pause: 'registry.k8s.io/pause:3.9',
  pauseOld: 'k8s.gcr.io/pause:3.9',
  predefinedGroup: `${staging}/test-image-predefined-group:latest`,
  /** Pulled by digest only: it is pushed without a tag. */
  byDigest: `${staging}/test-image-digest`,
  hostnetNginx: `${staging}/hostnet-nginx-${hostArchitecture()}:latest`,
  /** A static program of some KiB and nothing else; prints one line to stdout and one to stderr. */
  hello: `${own}/hello:latest`,
  /** Whiteouts, opaque folders, links, devices, modes: `unpack-layers.ts` says what it must look like. */
  layers: `${own}/layers:latest`,
  zstd: `${own}/zstd:latest`,
  plain: `${own}/plain:latest`,
  /** One manifest, of an architecture that is not this machine's. */
  foreign: `${own}/foreign:latest`,
  /** An index that has only such an architecture. */
  foreignIndex: `${own}/foreign-index:latest`,
  /** An OCI index of this machine's architecture and another; the other comes first. */
  twoArch: `${own}/two-arch:latest`,
  /** Sixty layers of one file each, `/many/NN`. */
  manyLayers: `${own}/many-layers:latest`,
  /** busybox with `VOLUME`s of every kind: `rootfs.ts` says what is there. */
  volumes: `${own}/volumes:latest`,
} as const

const path = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
const shell: RunConfig = { Env: [path], Cmd: ['sh'] }
const otherArchitecture = hostArchitecture() === 'arm64' ? 'amd64' : 'arm64'

async function markerLayer(name: string): Promise<Layer> {
  return buildLayer([{ type: 'file', path: name, content: '' }])
}

async function foreignImage(marker: string, format: 'oci' | 'docker'): Promise<Image> {
  const platform = { os: 'linux', architecture: otherArchitecture }
  return buildImage({ layers: [await markerLayer(marker)], format, platform, config: shell })
}

/** The images of critest's own Dockerfiles: the base, one marker file each, and the user they name. */
async function stagingImages(base: Layer): Promise<NamedImage[]> {
  const marked = async (marker: string, config: RunConfig): Promise<Image> =>
    buildImage({ layers: [base, await markerLayer(marker)], config })
  const users = {
    uid: '1002',
    username: 'www-data',
    'uid-group': '1003:1004',
    'username-group': 'www-data:1004',
  }
  const images: NamedImage[] = []
  for (const [suffix, User] of Object.entries(users))
    images.push({
      name: `${staging}/test-image-user-${suffix}:latest`,
      image: buildImage({ layers: [base], config: { ...shell, User } }),
    })
  const group = await buildLayer(rootfs.predefinedGroupEntries())
  images.push({
    name: names.predefinedGroup,
    image: buildImage({ layers: [base, group], config: { ...shell, User: '1000' } }),
  })
  const marks = {
    'test-image-latest:latest': 'test-image-latest',
    'test-image-tag:test': 'test',
    'test-image-tag:all': 'all',
  }
  for (const [name, marker] of Object.entries(marks))
    images.push({ name: `${staging}/${name}`, image: await marked(marker, shell) })
  for (const n of [1, 2, 3])
    images.push({ name: `${staging}/test-image-${n}:latest`, image: await marked(`test-image-${n}`, shell) })
  const same = await marked('same-image', shell)
  for (const n of [1, 2, 3]) images.push({ name: `${staging}/test-image-tags:${n}`, image: same })
  const digested = await marked('test-image-digest', shell)
  images.push({
    name: names.byDigest,
    image: buildIndex([await foreignImage('test-image-digest', 'oci'), digested], 'oci'),
  })
  return images
}

async function kubernetesImages(base: Layer, m: Materials): Promise<NamedImage[]> {
  const nginx = await buildLayer(rootfs.nginxEntries(m.nginx))
  const web = async (port: number, format: 'oci' | 'docker'): Promise<Image> =>
    buildImage({
      layers: [base, nginx, await buildLayer(rootfs.nginxConfEntries(port))],
      format,
      config: { Env: [path], Cmd: ['nginx'], ExposedPorts: { [`${port}/tcp`]: {} } },
    })
  const httpd = buildImage({
    layers: [base, await buildLayer(rootfs.wwwEntries())],
    format: 'docker',
    config: { Env: [path], Cmd: ['sh', '-c', 'echo httpd: starting; exec httpd -f -p 80 -h /www'] },
  })
  const pause = buildImage({
    layers: [await buildLayer([rootfs.program(m.programs, 'pause', 'pause')])],
    format: 'docker',
    config: { Env: [path], Entrypoint: ['/pause'] },
  })
  const nnp = rootfs.program(m.programs, 'nnp', 'nnp', 0o4755)
  const nonewprivs = buildImage({
    layers: [base, await buildLayer([nnp])],
    config: { Env: [path], Entrypoint: ['/nnp'] },
  })
  const busybox = buildImage({ layers: [base], config: shell })
  const nginxDocker = await web(80, 'docker')
  return [
    { name: names.busybox, image: buildIndex([busybox, await foreignImage('busybox', 'oci')], 'oci') },
    { name: names.nginx, image: buildIndex([await foreignImage('nginx', 'docker'), nginxDocker], 'docker') },
    { name: names.httpd, image: httpd },
    { name: names.nonewprivs, image: nonewprivs },
    { name: names.pause, image: pause },
    { name: names.pauseOld, image: pause },
    { name: names.hostnetNginx, image: await web(12003, 'oci') },
    ...['1.35.0-glibc', '1-uclibc', '1', '1-glibc', '1-musl'].map((tag) => ({
      name: `${ecr}:${tag}`,
      image: busybox,
    })),
  ]
}

async function ownImages(base: Layer, m: Materials): Promise<NamedImage[]> {
  const hello = [rootfs.program(m.programs, 'hello', 'hello')]
  // A label tells them apart: the ID of an image is that of its configuration, whatever its layers are packed in.
  const greet = (variant: string): RunConfig => ({
    Env: [path],
    Entrypoint: ['/hello'],
    Labels: { 'test.gantry.variant': variant },
  })
  const helloLayers = [await buildLayer(hello)]
  const helloImage = buildImage({ layers: helloLayers, config: greet('gzip') })
  const twoArch = buildImage({ layers: helloLayers, config: greet('two-arch') })
  const stacked = [
    base,
    ...(await Promise.all([unpack.first, unpack.second, unpack.third].map((e) => buildLayer(e)))),
  ]
  const foreign = await foreignImage('foreign', 'oci')
  const many = await Promise.all(
    Array.from({ length: 60 }, (_, i) => String(i).padStart(2, '0')).map((n) =>
      buildLayer([
        { type: 'directory', path: 'many' },
        { type: 'file', path: `many/${n}`, content: `${n}\n` },
      ]),
    ),
  )
  return [
    { name: names.hello, image: helloImage },
    { name: names.layers, image: buildImage({ layers: stacked, config: shell }) },
    {
      name: names.zstd,
      image: buildImage({ layers: [await buildLayer(hello, 'zstd')], config: greet('zstd') }),
    },
    {
      name: names.plain,
      image: buildImage({ layers: [await buildLayer(hello, 'none')], config: greet('plain') }),
    },
    { name: names.foreign, image: foreign },
    { name: names.foreignIndex, image: buildIndex([foreign]) },
    { name: names.twoArch, image: buildIndex([foreign, twoArch]) },
    { name: names.manyLayers, image: buildImage({ layers: [base, ...many], config: shell }) },
    {
      name: names.volumes,
      image: buildImage({
        layers: [base, await buildLayer(rootfs.volumeEntries())],
        config: { ...shell, Volumes: Object.fromEntries(rootfs.declaredVolumes.map((v) => [v, {}])) },
      }),
    },
  ]
}

/** All of them, in a fixed order. Pure but for the time that compressing takes. */
export async function allImages(m: Materials): Promise<readonly NamedImage[]> {
  const base = await buildLayer(rootfs.busyboxEntries(m.busybox, m.programs))
  return [...(await kubernetesImages(base, m)), ...(await stagingImages(base)), ...(await ownImages(base, m))]
}

// SPDX-License-Identifier: Apache-2.0
/** image-commands: the part of the table of commands that is about images. Pure data. */
import { type Command, daemonFlags, type FlagSpec, json } from './command.ts'

const force = (help: string): FlagSpec => ({ name: 'force', short: 'f', help })
const quiet = (help: string): FlagSpec => ({ name: 'quiet', short: 'q', help })
const noTrunc: FlagSpec = { name: 'no-trunc', help: 'Nothing is cut short.' }
const credsStdin: FlagSpec = {
  name: 'creds-stdin',
  help: 'Read `USER:PASSWORD` from stdin; they are used for this call and kept nowhere.',
}
const kind: FlagSpec = {
  name: 'type',
  value: 'KIND',
  help: '`container`, `pod` or `image`: where one word could be several.',
}

type Given = Pick<Command, 'name' | 'summary' | 'about' | 'flags' | 'examples' | 'operands'>

/** Every one of them asks the daemon, and can answer in JSON. */
const command = (c: Given): Command => ({
  ...c,
  words: [],
  wordNeeded: false,
  flags: [...c.flags, json, ...daemonFlags],
  takesOptions: false,
})

const images = (help: string) => ({ usage: 'IMAGE…', help, min: 1, max: Number.POSITIVE_INFINITY })
const ONE = 'a name, a digest, an id or the beginning of one'

export const imageCommands: readonly Command[] = [
  command({
    name: 'pull',
    summary: 'fetch images from their registries',
    about: [
      'Fetches each image and unpacks it; what is here already is not fetched again. A name without a registry is one of docker.io, unless `registries.conf` has it mean another; a name without a tag means `latest`. Mirrors, certificates and credentials are those of the configuration, as for the kubelet.',
      'On a terminal it shows a bar for each layer, elsewhere a line when something has changed, both on stderr; stdout gets one line for each image. Ctrl-C gives the pull up, unless somebody else waits for it too.',
    ],
    operands: images('what to fetch, as `registry/repository:tag` or `repository@digest`'),
    flags: [quiet('Only the ids, and no progress.'), credsStdin],
    examples: [
      ['gantry pull busybox nginx:1.27', 'two images'],
      ['gantry pull -q registry.example/app:3', 'only its id, for a script'],
      ['gantry pull --creds-stdin registry.example/app:3 < creds', 'USER:PASSWORD, for this call'],
    ],
  }),
  command({
    name: 'images',
    summary: 'the images of this node',
    about: [
      'One line for each name of an image, the newest first. IN USE says how many containers are made from it; `pinned` images are kept from every garbage collection.',
      'Filters: `dangling=true` (without a tag), `in-use=false`, `pinned=true`, `reference=PATTERN` with `*` for any characters. Several must all hold.',
    ],
    operands: {
      usage: '[PATTERN]',
      help: 'only names that match, as `nginx` or `registry.example/*`',
      min: 0,
      max: 1,
    },
    flags: [
      { name: 'digests', help: 'Also the digests.' },
      noTrunc,
      { name: 'filter', short: 'f', value: 'KEY=VALUE', help: 'Only these; several, separated by commas.' },
      quiet('Only the ids.'),
    ],
    examples: [
      ['gantry images', ''],
      ['gantry images --digests nginx', 'of one repository, with digests'],
      ['gantry images -q --filter=in-use=false', 'ids of what no container uses'],
    ],
  }),
  command({
    name: 'rmi',
    summary: 'take names of images away, and images with their last name',
    about: [
      'A name is taken away; the image goes with its last one. An id, or its beginning, takes all names away. Containers that are made from the image go on: its layers go when the last of them does.',
    ],
    operands: images(ONE),
    flags: [force('An image that is not here is no failure.')],
    examples: [
      ['gantry rmi nginx:1.26', ''],
      [
        'gantry rmi $(gantry images -q --filter=dangling=true)',
        'all without a tag; gantry prune does that too',
      ],
    ],
  }),
  command({
    name: 'tag',
    summary: 'give an image one more name',
    about: ['The image keeps its other names. If another image has the name, it loses it.'],
    operands: { usage: 'IMAGE NEW-NAME', help: 'the image, then its new name', min: 2, max: 2 },
    flags: [],
    examples: [['gantry tag app:build registry.example/app:3', 'then: gantry push registry.example/app:3']],
  }),
  command({
    name: 'push',
    summary: 'send an image to a registry',
    about: [
      'Sends the image under its own name, or under another one that is given. Only what the registry lacks is sent. Credentials as for `pull`.',
    ],
    operands: {
      usage: 'IMAGE [TARGET]',
      help: 'the image, and where it goes if that is not its name',
      min: 1,
      max: 2,
    },
    flags: [quiet('Only the digest, and no progress.'), credsStdin],
    examples: [
      ['gantry push registry.example/app:3', ''],
      ['gantry push app:build registry.example/app:3', 'under another name'],
    ],
  }),
  command({
    name: 'save',
    summary: 'write images into an archive, for a node without a registry',
    about: [
      'Writes one archive with all the images. `docker` is what `docker load`, `podman load`, `ctr images import` and `gantry load` read; `oci` is an OCI image layout and nothing else. Names that are given are the names in the archive.',
      'A file appears under its name when it is whole. Without `--output` the archive goes to stdout, but not to a terminal.',
    ],
    operands: images(ONE),
    flags: [
      { name: 'output', short: 'o', value: 'FILE', help: 'Write this file; `-` is stdout.' },
      { name: 'format', value: 'FORMAT', help: '`docker` (the default) or `oci`.' },
    ],
    examples: [
      ['gantry save -o app.tar app:3 nginx:1.27', 'two images, one archive'],
      ['gantry save app:3 | ssh node2 gantry load', 'to another node'],
      ['gantry save app:3 | zstd > app.tar.zst', 'compressed'],
    ],
  }),
  command({
    name: 'load',
    summary: 'take the images of an archive',
    about: [
      'Reads what `docker save`, `podman save`, `ctr images export` and `gantry save` write, and OCI image layouts; plain, gzip or zstd. All of an archive is taken, or nothing of it.',
    ],
    flags: [
      { name: 'input', short: 'i', value: 'FILE', help: 'Read this file; `-` is stdin, and the default.' },
      quiet('Only the names, and no progress.'),
    ],
    examples: [
      ['gantry load -i app.tar', ''],
      ['docker save app:3 | gantry load', 'from Docker'],
      ['buildah push app:3 docker-archive:/dev/stdout | gantry load', 'what buildah has built'],
    ],
  }),
  command({
    name: 'inspect',
    summary: 'all that is known of a container, a pod or an image, as JSON',
    about: [
      'Each word is a name, an id or the beginning of one. Containers are also named `pod/container` and `namespace/pod/container`, pods `namespace/pod`. A container comes before a pod, and a pod before an image; `--type` says which is meant. The answer is an array, with one element for each word.',
    ],
    operands: {
      usage: 'NAME…',
      help: 'a container, a pod or an image',
      min: 1,
      max: Number.POSITIVE_INFINITY,
    },
    flags: [kind],
    examples: [
      ['gantry inspect nginx:1.27', 'an image'],
      ['gantry inspect kube-system/coredns-abc/coredns', 'a container by its pod'],
      ["gantry inspect web | jq -r '.[0].state.phase'", 'one field'],
    ],
  }),
  command({
    name: 'history',
    summary: 'the steps by which an image was built',
    about: ['The newest step first, with the size of its layer as it lies on the disk.'],
    operands: { usage: 'IMAGE', help: ONE, min: 1, max: 1 },
    flags: [noTrunc],
    examples: [
      ['gantry history nginx:1.27', ''],
      ['gantry history --no-trunc nginx:1.27', 'with the whole commands'],
    ],
  }),
  command({
    name: 'diff',
    summary: 'what a container has changed in its files',
    about: [
      'Compares a container with its image, or an image with its own lower layers: `A` is a file that was added, `C` one that was changed, `D` one that was deleted.',
    ],
    operands: { usage: 'NAME', help: 'a container or an image, as for `inspect`', min: 1, max: 1 },
    flags: [kind],
    examples: [['gantry diff web/nginx', '']],
  }),
  command({
    name: 'prune',
    summary: 'remove images that nothing needs',
    about: [
      'Removes images without a tag from which no container is made; with `--all` also those with tags. Pinned images stay, and so does what a pull is about to use. It says first what would go and asks; where there is no terminal, `--force` is needed.',
    ],
    flags: [
      { name: 'all', short: 'a', help: 'Also images that have tags.' },
      force('Do not ask.'),
      { name: 'dry-run', help: 'Only say what would go.' },
    ],
    examples: [
      ['gantry prune', ''],
      ['gantry prune --all --dry-run', 'what a node could do without'],
    ],
  }),
]

// SPDX-License-Identifier: Apache-2.0
/** usage-commands: the part of the table of commands that is about what pods and containers use. Pure data. */
import { type Command, daemonFlags, json } from './command.ts'

const NAMES = {
  usage: '[NAME…]',
  help: 'by name, `namespace/pod`, `pod/container`, or the beginning of an id; a pod brings its containers',
  min: 0,
  max: Number.POSITIVE_INFINITY,
} as const

const COLUMNS =
  'CPU is in cores. MEMORY is the working set: what is in use without file pages that can be dropped at once. RESTARTS says how often the kubelet has made the container anew. `-` is what is not known: containers have the network of their pod, and one that has just come has no rates yet.'

const shared = { words: [], wordNeeded: false, operands: NAMES, takesOptions: false } as const

export const usageCommands: readonly Command[] = [
  {
    ...shared,
    name: 'stats',
    summary: 'what pods and containers use, once',
    about: ['Looks twice, one second apart, at everything that runs. The busiest pod comes first.', COLUMNS],
    flags: [json, ...daemonFlags],
    examples: [
      ['gantry stats', ''],
      ['gantry stats default/web', 'one pod and its containers'],
      ["gantry stats --json | jq '.[] | select(.cpuCores > 1)'", 'for scripts'],
    ],
  },
  {
    ...shared,
    name: 'top',
    summary: 'what pods and containers use, live',
    about: [
      'As `gantry stats`, again and again until Ctrl-C, and as much as the terminal has room for. Where there is no terminal it prints one picture and ends.',
      COLUMNS,
    ],
    flags: [
      { name: 'interval', short: 'i', value: 'SECONDS', help: 'Time between two looks; 2 if not given.' },
      { name: 'once', help: 'One picture, then the end.' },
      ...daemonFlags,
    ],
    examples: [
      ['gantry top', ''],
      ['gantry top --interval=5 kube-system/coredns-abc', 'one pod, every five seconds'],
    ],
  },
]

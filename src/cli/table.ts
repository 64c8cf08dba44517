// SPDX-License-Identifier: Apache-2.0
/**
 * The one table of commands, their flags, words and examples. Parsing, help, completion and docs/cli.md all
 * follow from it; what a command does is in the file of its name. Pure data, quick to load.
 */
import { shortFlags } from '../config/flags.ts'
import { optionKeys } from '../config/schema.ts'
import {
  type Command,
  configFile,
  daemonFlags,
  type FlagSpec,
  json,
  option,
  type WordSpec,
} from './command.ts'
import { credentialCommands } from './credential-commands.ts'
import { imageCommands } from './image-commands.ts'
import { usageCommands } from './usage-commands.ts'
import { watchCommands } from './watch-commands.ts'

/** What the numbers mean that `gantry` ends with. */
export const exitCodes = {
  ok: 0,
  failure: 1,
  usage: 2,
  unreachable: 3,
  interrupted: 130,
} as const

export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes]

export const exitMeanings: Readonly<Record<keyof typeof exitCodes, string>> = {
  ok: 'done, and what was asked about is in order',
  failure: 'it failed, or what was asked about is not in order; the reason is one sentence on stderr',
  usage: 'the command line is wrong: an unknown command, flag or word',
  unreachable: 'no daemon answers on the socket',
  interrupted: 'stopped by Ctrl-C; what it had begun is given up',
}

/** `--help` works everywhere and is not repeated with each command. */
export const helpFlag: FlagSpec = { name: 'help', help: 'Show the help of a command.' }

/** Every option of the configuration as a flag, and the shorter names. */
export const optionFlags: readonly FlagSpec[] = [
  configFile,
  ...optionKeys.map(option),
  ...Object.entries(shortFlags).map(([name, key]) => ({ ...option(key), name })),
]

export const shells: readonly WordSpec[] = [
  { name: 'bash', help: 'for bash' },
  { name: 'zsh', help: 'for zsh' },
  { name: 'fish', help: 'for fish' },
]

export const commands: readonly Command[] = [
  {
    name: 'serve',
    summary: 'start the daemon in the foreground, as gantryd does',
    about: [
      'Starts the runtime and serves the CRI until SIGINT or SIGTERM. Needs root. Every option of the configuration is a flag.',
      'With `--self-check` it waits until the runtime and the network are ready, brings one pod up and down from a built-in image (no registry is asked, nothing of it stays), says how long that took, and prints what to type next. If the check fails, the daemon ends with exit code 1.',
      'Ctrl-C stops the daemon; containers go on and are found again by the next start.',
    ],
    words: [],
    wordNeeded: false,
    flags: [{ name: 'self-check', help: 'Bring one pod up and down before saying that all is well.' }],
    takesOptions: true,
    examples: [
      ['gantry serve', 'with /etc/gantry/gantry.toml, or the defaults'],
      ['gantry serve --self-check --default-network', 'what npm start does'],
      [
        'gantry serve --root=/srv/gantry --run-dir=/run/g2 --log-level=debug',
        'a second one, in its own places',
      ],
    ],
  },
  {
    name: 'status',
    summary: 'what the running daemon has and how it is, on one screen',
    about: [
      'Asks the daemon over its socket: versions, handlers, network, pods, containers, images, pulls in flight, disk, problems. Needs access to the socket: root, or the group that `socket_group` names.',
      'Exit code 0 if the runtime and the network are ready, 1 if one is not, 3 if no daemon answers.',
    ],
    words: [],
    wordNeeded: false,
    flags: [json, ...daemonFlags],
    takesOptions: false,
    examples: [
      ['gantry status', ''],
      ['gantry status --json', 'for scripts'],
      ['gantry status --socket=/run/g2/gantry.sock', 'of another daemon'],
    ],
  },
  ...usageCommands,
  ...watchCommands,
  {
    name: 'doctor',
    summary: 'what on this machine would stop pods from running, and how to mend it',
    about: [
      'Looks at the kernel, cgroups, namespaces, overlay mounts, security modules, OCI runtimes, CNI, disk and the parts of gantry. Changes nothing that stays: it mounts one overlay and makes one set of namespaces in a temporary folder and takes them away again. Needs no daemon; without root some checks are left out and named.',
      'Each check is `ok`, `warning` (pods run, something is missing) or `problem` (pods would not run), with a remedy. Exit code 1 if there is a problem.',
    ],
    words: [],
    wordNeeded: false,
    flags: [json],
    takesOptions: true,
    examples: [
      ['sudo gantry doctor', ''],
      ['sudo gantry doctor --default-network', 'as npm start would run'],
      ['sudo gantry doctor --json', 'for scripts'],
    ],
  },
  {
    name: 'debug',
    summary: 'what the daemon is at: calls with their stage and age, locks, memory',
    about: [
      '`dump` asks the daemon for everything that tells why it is slow or stuck: each call and piece of work with its age and the stage it is in, each lock with who holds it and how many wait, pulls, leftovers, problems, descriptors by kind, memory. No request and no secret is in it. Needs access to the socket.',
      'A daemon whose event loop is blocked does not answer; its log says where it stands (`event-loop-blocked`).',
    ],
    words: [{ name: 'dump', help: 'everything, once' }],
    wordNeeded: true,
    flags: [json, ...daemonFlags],
    takesOptions: false,
    examples: [
      ['gantry debug dump', ''],
      ['gantry debug dump --json | jq .jobs', 'what runs now'],
    ],
  },
  {
    name: 'config',
    summary: 'show the defaults or what is in force, or check it',
    about: [
      '`default` prints a commented file with every option, `show` what is in force after files, environment and flags, `check` only what is wrong: all problems at once, each with its place, and exit code 1.',
    ],
    words: [
      { name: 'default', help: 'a commented file with every option' },
      { name: 'show', help: 'what is in force' },
      { name: 'check', help: 'what is wrong' },
    ],
    wordNeeded: true,
    flags: [json],
    takesOptions: true,
    examples: [
      ['gantry config default > /etc/gantry/gantry.toml', 'begin with every option in view'],
      ['gantry config check', 'before a restart'],
      ['gantry config show --config=./new.toml', ''],
    ],
  },
  ...imageCommands,
  ...credentialCommands,
  {
    name: 'version',
    summary: 'the version of gantry',
    about: ['Prints the version of this program. Asks no daemon; `gantry status` does.'],
    words: [],
    wordNeeded: false,
    flags: [json],
    takesOptions: false,
    examples: [['gantry version', '']],
  },
  {
    name: 'completion',
    summary: 'a completion script for your shell',
    about: ['Prints a script that completes commands, words and flags.'],
    words: shells,
    wordNeeded: true,
    flags: [],
    takesOptions: false,
    examples: [
      ['. <(gantry completion bash)', 'for this bash'],
      ['gantry completion bash > /etc/bash_completion.d/gantry', 'for every bash'],
      ['gantry completion zsh > /usr/share/zsh/vendor-completions/_gantry', ''],
      ['gantry completion fish > ~/.config/fish/completions/gantry.fish', ''],
    ],
  },
  {
    name: 'help',
    summary: 'the help of a command',
    about: [
      'Shows what a command does, with its flags and examples. `--help` behind any command does the same.',
    ],
    words: [],
    wordNeeded: false,
    flags: [],
    takesOptions: false,
    examples: [['gantry help status', '']],
  },
]

/** `help` takes the name of a command: they are its words. */
export const wordsOf = (command: Command): readonly WordSpec[] =>
  command.name === 'help' ? commands.map((c) => ({ name: c.name, help: c.summary })) : command.words

/** Every flag of a command, its own first. */
export const flagsOf = (command: Command): readonly FlagSpec[] => [
  ...command.flags,
  ...(command.takesOptions ? optionFlags : []),
  helpFlag,
]

export const commandNamed = (name: string): Command | undefined => commands.find((c) => c.name === name)

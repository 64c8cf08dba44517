// SPDX-License-Identifier: Apache-2.0
/** credential-commands: the part of the table of commands that is about credentials. Pure data. */
import { type Command, configFile, type FlagSpec } from './command.ts'

const registry = {
  name: 'REGISTRY',
  usage: '[REGISTRY]',
  help: 'the host of a registry, as `registry.example:5000`, or a part of it, as `quay.io/team`; default: docker.io',
  min: 0,
  max: 1,
}
const authFile: FlagSpec = {
  name: 'auth-file',
  value: 'PATH',
  help: 'Work on this file instead of the first of `registry.auth_files`, which is `/etc/gantry/auth.json`.',
}
const NO_DAEMON =
  'Asks no daemon. The daemon reads the file at each pull, so that no restart is needed; what it finds is used for every pull whose request brings no credentials of its own, so for every pod of the node. See docs/credentials.md.'

export const credentialCommands: readonly Command[] = [
  {
    name: 'login',
    summary: 'keep credentials of a registry for the pulls of this node',
    about: [
      'Asks for what is missing, tries the credentials at the registry (with the mirrors’ and registries’ files that a pull reads), and keeps them only if they are accepted. The file is for its owner only and is replaced whole; what else is in it stays.',
      'A password is read from the terminal, where it is not shown, or with `--password-stdin` from stdin. There is no flag for it: the arguments of a program can be read by everybody on the machine and stay in the history of the shell.',
      NO_DAEMON,
    ],
    words: [],
    wordNeeded: false,
    operands: registry,
    flags: [
      { name: 'username', short: 'u', value: 'USER', help: 'Who logs in; otherwise it is asked for.' },
      { name: 'password-stdin', help: 'Read the password, or an access token, from stdin.' },
      authFile,
      configFile,
    ],
    refused: {
      flag: /^(?:-p|--password(?:=|$))/,
      why: 'a password is not taken from the command line, where everybody can read it: use --password-stdin',
    },
    takesOptions: false,
    examples: [
      ['gantry login registry.example', 'asks for username and password'],
      ['gantry login -u robot --password-stdin registry.example < token', 'in a script'],
      ['gantry login --auth-file=/root/.docker/config.json', 'Docker Hub, in the file of docker'],
    ],
  },
  {
    name: 'logout',
    summary: 'forget credentials that login has kept',
    about: [
      'Takes the entry of the registry out of the file, or all entries with `--all`; what else is in it stays. Not being logged in is no failure. Other files that still have credentials for the registry are named.',
      NO_DAEMON,
    ],
    words: [],
    wordNeeded: false,
    operands: registry,
    flags: [{ name: 'all', help: 'Forget those of every registry.' }, authFile, configFile],
    takesOptions: false,
    examples: [
      ['gantry logout registry.example', ''],
      ['gantry logout --all', ''],
    ],
  },
]

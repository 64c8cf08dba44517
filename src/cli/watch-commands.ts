// SPDX-License-Identifier: Apache-2.0
/** watch-commands: the part of the table of commands that is about what the daemon does and says. Pure data. */
import { LEVELS } from '../base/log.ts'
import { type Command, daemonFlags, json } from './command.ts'

export const watchCommands: readonly Command[] = [
  {
    name: 'events',
    summary: 'what happens to containers and pods, as it happens',
    about: [
      'One line for each event from now on: containers `create`, `start`, `die` and `destroy`, pods `create`, `start`, `stop` and `remove`. Ctrl-C ends it. What happened before, the lists tell.',
      'Filters: `type`, `event`, `id` (or its beginning), `pod` (as `namespace/name`), `name`, `image`. Several values of one key are alternatives; several keys must all hold.',
      'A reader that is a thousand events behind is sent away, so that it slows nobody else.',
    ],
    words: [],
    wordNeeded: false,
    flags: [
      { name: 'filter', short: 'f', value: 'KEY=VALUE', help: 'Only these; several, separated by commas.' },
      { name: 'json', help: 'One JSON object per line, for scripts.' },
      ...daemonFlags,
    ],
    takesOptions: false,
    examples: [
      ['gantry events', ''],
      ['gantry events --filter=event=die', 'what ends, with exit code and reason'],
      ['gantry events --json -f pod=default/web', 'of one pod, for scripts'],
    ],
  },
  {
    name: 'log-level',
    summary: 'show or change which lines the log of the daemon has',
    about: [
      'Without a word it tells the level that holds. A new one holds until the daemon ends or reads its configuration again (SIGHUP), where `log.level` is.',
    ],
    words: LEVELS.map((name) => ({ name, help: `from ${name} upwards` })),
    wordNeeded: false,
    flags: [json, ...daemonFlags],
    takesOptions: false,
    examples: [
      ['gantry log-level debug', 'to see what it does'],
      ['gantry log-level info', 'back to one line a request'],
    ],
  },
]

// SPDX-License-Identifier: Apache-2.0
/** page: docs/cli.md, from the table of commands; scripts/gen-docs.ts writes it. Pure. */
import { daemonFlags } from './command.ts'
import { exitLines, flagText, usageOf } from './help.ts'
import { commands, wordsOf } from './table.ts'

/** The page docs/cli.md. */
export function cliPage(): string {
  const lines = [
    '<!-- Written by scripts/gen-docs.ts from src/cli/table.ts: change that, then run `npm run docs`. -->',
    '',
    '# gantry: the command line',
    '',
    '`gantry COMMAND [flags]`. The command comes first. A flag that takes a value may be written `--flag=value` or `--flag value`; behind `--` nothing is a flag. `--help` behind any command shows its help, with examples. An unknown command, word or flag is an error that names the nearest known one.',
    '',
    'What a command reports goes to stdout, what went wrong to stderr, in one sentence. Colour is used on a terminal only, and not where `NO_COLOR` is set. `--json` gives one JSON document on stdout; its fields stay as they are within a major version, new ones may come.',
    '',
    '| command | does |',
    '|---|---|',
    ...commands.map((c) => `| [\`${c.name}\`](#gantry-${c.name}) | ${c.summary} |`),
    '',
    '## Exit codes',
    '',
    '| code | means |',
    '|---|---|',
    ...exitLines(),
  ]
  for (const c of commands) {
    lines.push('', `## gantry ${c.name}`, '', '```', usageOf(c), '```', '')
    lines.push(c.about.join('\n\n'), '')
    if (c.name !== 'help') for (const w of wordsOf(c)) lines.push(`- \`${w.name}\`: ${w.help}`)
    if (c.operands !== undefined) lines.push(`- \`${c.operands.usage}\`: ${c.operands.help}`)
    const asks = daemonFlags.every((f) => c.flags.includes(f))
    for (const f of c.flags)
      if (!asks || !daemonFlags.includes(f)) lines.push(`- \`${flagText(f)}\`: ${f.help}`)
    if (asks)
      lines.push(`- ${daemonFlags.map((f) => `\`${flagText(f)}\``).join(', ')}: which daemon is asked`)
    if (c.takesOptions)
      lines.push(
        '- every option of the configuration as a flag, and `--config=PATH`: see [config.md](config.md)',
      )
    if (lines.at(-1) !== '') lines.push('')
    lines.push('```sh')
    lines.push(...c.examples.map(([line, what]) => (what === '' ? line : `${line}  # ${what}`)), '```')
  }
  lines.push(
    '',
    '## Environment',
    '',
    '- `GANTRY_CONFIG`: the configuration file, as `--config`',
    '- `GANTRY_…`: every option of the configuration has a variable, see [config.md](config.md)',
    '- `NO_COLOR`: if set and not empty, no colour',
    '',
    '## Files',
    '',
    '- `/etc/gantry/gantry.toml`, `/etc/gantry/conf.d/*.toml`: the configuration',
    '- `/run/gantry/gantry.sock`: the socket of the daemon, for the kubelet, for crictl and for gantry itself',
    '- `/var/lib/gantry`: images, writable layers, the records of pods and containers',
  )
  return `${lines.join('\n')}\n`
}

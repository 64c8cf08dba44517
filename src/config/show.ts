// SPDX-License-Identifier: Apache-2.0
/**
 * show: the configuration as text: the defaults as a commented file, a loaded configuration as TOML that gives
 * the same again, and the page docs/config.md. Pure; nothing here holds a secret, so nothing is left out.
 */

import { shortFlags } from './flags.ts'
import { defaultFile, optionOf } from './load.ts'
import {
  type Config,
  flagOf,
  type OptionKey,
  optionKeys,
  placeOf,
  runtimeFields,
  variableOf,
} from './schema.ts'

const groupOf = (key: string): string => (key.includes('.') ? key.slice(0, key.indexOf('.')) : '')
const nameOf = (key: string): string => key.slice(key.indexOf('.') + 1)

/** Keys by table, the top table first. */
function tables(): Map<string, OptionKey[]> {
  const found = new Map<string, OptionKey[]>()
  for (const key of optionKeys) found.set(groupOf(key), [...(found.get(groupOf(key)) ?? []), key])
  return found
}

/** The help of an option, wrapped as comment lines. */
function comment(help: string): string[] {
  const lines: string[] = []
  let line = '#'
  for (const word of help.replaceAll('`', '').split(' ')) {
    if (line.length + word.length > 98) {
      lines.push(line)
      line = '#'
    }
    line += ` ${word}`
  }
  return [...lines, line]
}

function defaultLine(key: OptionKey): string {
  const option = optionOf(key)
  const value = option.fallback === undefined ? '"/run/gantry/gantry.sock"' : option.toToml(option.fallback)
  return `#${nameOf(key)} = ${value}`
}

/** A file with every option at its default, commented out, each with its sentence. */
export function configDefaultToml(): string {
  const lines = ['# Configuration of gantry. Every option is shown with its default.']
  for (const [group, keys] of tables()) {
    if (group !== '') lines.push('', `[${group}]`)
    for (const key of keys) lines.push('', ...comment(optionOf(key).help), defaultLine(key))
  }
  lines.push(
    '',
    '# A runtime for each handler that a RuntimeClass may name. runc and crun are there if installed.',
  )
  lines.push(
    '#[runtimes.runc]',
    '#kind = "runc"',
    '#path = "runc"',
    '#root = "/run/gantry/oci/runc"',
    '#args = []',
  )
  return `${lines.join('\n')}\n`
}

/** The value of an option by its key. */
export function valueAt(config: Config, key: OptionKey): unknown {
  let value: unknown = config
  for (const part of placeOf(key)) value = Reflect.get(value as object, part)
  return value
}

/** `config` as TOML. Loading it gives the same configuration. */
export function configShowToml(config: Config): string {
  const lines = config.files.map((f) => `# from ${f}`)
  for (const [group, keys] of tables()) {
    if (group !== '') lines.push('', `[${group}]`)
    for (const key of keys) lines.push(`${nameOf(key)} = ${optionOf(key).toToml(valueAt(config, key))}`)
  }
  for (const [name, runtime] of Object.entries(config.runtimes)) {
    // A default runtime that nobody wrote stays one that may be missing.
    const mark = runtime.explicit ? '' : '#'
    lines.push('', `${mark}[runtimes.${/^[\w-]+$/.test(name) ? name : JSON.stringify(name)}]`)
    lines.push(
      `${mark}kind = ${JSON.stringify(runtime.kind)}`,
      `${mark}path = ${JSON.stringify(runtime.path)}`,
    )
    if (runtime.root !== undefined) lines.push(`${mark}root = ${JSON.stringify(runtime.root)}`)
    lines.push(`${mark}args = ${JSON.stringify(runtime.args)}`)
    const { annotations, podAnnotations, containerAnnotations, baseSpec, hooksDirs } = runtime
    if (podAnnotations) lines.push(`pod_annotations = ${JSON.stringify(podAnnotations)}`)
    if (containerAnnotations) lines.push(`container_annotations = ${JSON.stringify(containerAnnotations)}`)
    if (baseSpec !== undefined) lines.push(`base_spec = ${JSON.stringify(baseSpec)}`)
    if (hooksDirs) lines.push(`hooks_dirs = ${JSON.stringify(hooksDirs)}`)
    for (const [name, text] of Object.entries(annotations ?? {}))
      lines.push(`annotations.${JSON.stringify(name)} = ${JSON.stringify(text)}`)
    if (runtime.privilegedWithoutHostDevices) lines.push('privileged_without_host_devices = true')
    if (runtime.privilegedWithoutHostDevicesAllDevicesAllowed)
      lines.push('privileged_without_host_devices_all_devices_allowed = true')
  }
  return `${lines.join('\n')}\n`
}

/** The page docs/config.md. */
export function configPage(): string {
  const lines = [
    '<!-- Written by scripts/gen-docs.ts from src/config/schema.ts: change that, then run `npm run docs`. -->',
    '',
    '# Configuration',
    '',
    `Read in this order, and what is read later wins: the defaults, \`${defaultFile}\` (or the file that \`--config\` or \`GANTRY_CONFIG\` names), \`*.toml\` in the folder \`conf.d\` beside that file in lexical order, variables of the environment, flags. All are optional; only a file that was asked for by name has to exist.`,
    '',
    'A list in a flag or variable is separated by commas. A switch is set by `--flag`, `--flag=false` or `--no-flag`. An unknown key, flag or `GANTRY_` variable is an error that names the nearest known one, and all problems are reported at once, each with its place. `gantry config default` prints a file with every option, `gantry config show` what is in force, `gantry config check` only what is wrong.',
  ]
  for (const [group, keys] of tables()) {
    lines.push('', group === '' ? '## Top' : `## [${group}]`)
    for (const key of keys) {
      const option = optionOf(key)
      const fallback = option.fallback === undefined ? 'see above' : `\`${option.toToml(option.fallback)}\``
      const short = Object.entries(shortFlags).flatMap(([f, k]) => (k === key ? [` or \`--${f}\``] : []))
      lines.push('', `### ${key}`, '', option.help, '')
      lines.push(`- type: ${option.type}`, `- default: ${fallback}`)
      lines.push(`- flag: \`--${flagOf(key)}\`${short.join('')}, variable: \`${variableOf(key)}\``)
    }
  }
  lines.push('', '## [runtimes.NAME]', '')
  lines.push(
    'One table for each handler that a RuntimeClass may name. `runc` and `crun` need no table: they are there when the program is. Flags and variables do not reach here.',
    '',
  )
  for (const [field, about] of Object.entries(runtimeFields))
    lines.push(`- \`${field}\` (${about.type}): ${about.help}`)
  return `${lines.join('\n')}\n`
}

// SPDX-License-Identifier: Apache-2.0
/** logout: takes credentials out of the file that login keeps them in, and says where others are left. */
import { Fault } from '../base/fault.ts'
import { loadConfig } from '../config/load.ts'
import { type AuthFile, keysOf, readAuthFile } from '../host/registry/auth-file.ts'
import type { Args } from './args.ts'
import { changeAlone } from './auth-file.ts'
import { authFileOf, registryName } from './login.ts'
import { type ExitCode, exitCodes } from './table.ts'

/** `gantry logout`. Success also if there was nothing. Throws Faults. */
export async function run(args: Args): Promise<ExitCode> {
  const all = args.own.has('all')
  if (all && args.words.length > 0)
    throw new Fault('invalid', 'either --all or one registry', { reason: 'usage' })
  const config = loadConfig(args, process.env)
  const path = authFileOf(args, config)
  const { text } = registryName(args.words[0])
  const file = await readAuthFile(path)
  const keys = (of: AuthFile | undefined) => (of ? (all ? Object.keys(of.auths) : keysOf(of, text)) : [])
  const remove = keys(file)
  if (remove.length > 0) await changeAlone(path, (now) => ({ remove: keys(now) }))
  const what = all ? `all registries (${remove.length})` : text
  process.stdout.write(
    remove.length > 0
      ? `logged out of ${what}: taken out of ${path}\n`
      : `not logged in to ${what} by ${path}\n`,
  )
  for (const other of config.registry.authFiles) {
    if (other === path || all) continue
    const left = await readAuthFile(other)
    if (left && keysOf(left, text).length > 0)
      process.stderr.write(`gantry: ${other} has credentials for ${text} too\n`)
  }
  return exitCodes.ok
}

// SPDX-License-Identifier: Apache-2.0
/**
 * Which network configuration is in force: reads the conf folder (lexical order, first valid file wins), falls
 * back to the default network only when the folder holds no configuration at all, and reads again whenever the
 * folder's signature has changed. Keeps nothing but the last reading. Never throws for what the files hold:
 * a bad file is a problem with a reason, and the next one is tried.
 */
import { readdir, readFile, realpath, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { errnoCode } from '../../base/fault.ts'
import { type DefaultNetworkOptions, defaultConf, isConfName, type NetworkList, parseConf } from './conf.ts'

export interface ConfProblem {
  readonly file: string
  readonly why: string
}

export interface ConfReading {
  readonly list: NetworkList | undefined
  /** File that the list came from, or `(built in)`. */
  readonly from: string | undefined
  readonly problems: readonly ConfProblem[]
  /** Changes whenever the folder, a file in it, or where either points to has changed. */
  readonly signature: string
}

export interface ConfSource {
  /** What is in force now; reads the files again only if the signature differs. */
  current(): Promise<ConfReading>
}

export interface SourceOptions {
  readonly confDir: string
  /** Used when the folder holds no configuration; undefined: there is none. */
  readonly defaultNetwork?: DefaultNetworkOptions | undefined
}

const MAX_CONF_BYTES = 1024 * 1024
/** `from` of the default network. */
export const BUILT_IN = '(built in)'

/** A source over one conf folder, which need not exist. */
export function createSource(options: SourceOptions): ConfSource {
  let last: ConfReading | undefined
  return {
    current: async () => {
      const seen = await look(options.confDir)
      if (last?.signature === seen.signature) return last
      last = await read(seen, options)
      return last
    },
  }
}

interface Seen {
  readonly signature: string
  readonly files: readonly string[]
  readonly problems: readonly ConfProblem[]
}

/** Names and identities of the configuration files, following links; an absent folder is an empty one. */
async function look(dir: string): Promise<Seen> {
  let names: string[]
  let signature: string
  try {
    signature = await realpath(dir)
    names = (await readdir(dir)).filter(isConfName).sort()
  } catch (e) {
    const code = errnoCode(e)
    if (code === 'ENOENT') return { signature: 'absent', files: [], problems: [] }
    const why = `the folder cannot be read: ${e instanceof Error ? e.message : String(e)}`
    return { signature: `unreadable ${code}`, files: [], problems: [{ file: dir, why }] }
  }
  const files: string[] = []
  const problems: ConfProblem[] = []
  for (const name of names) {
    const file = join(dir, name)
    try {
      const s = await stat(file, { bigint: true })
      signature += `\n${name} ${s.dev} ${s.ino} ${s.size} ${s.mtimeNs} ${s.ctimeNs}`
      if (!s.isFile()) problems.push({ file, why: 'not a regular file' })
      else if (s.size > MAX_CONF_BYTES) problems.push({ file, why: `larger than ${MAX_CONF_BYTES} bytes` })
      else files.push(file)
    } catch (e) {
      signature += `\n${name} ${errnoCode(e)}`
      problems.push({ file, why: e instanceof Error ? e.message : String(e) })
    }
  }
  return { signature, files, problems }
}

async function read(seen: Seen, options: SourceOptions): Promise<ConfReading> {
  const problems = [...seen.problems]
  for (const file of seen.files) {
    try {
      const list = parseConf(file, await readFile(file, 'utf8'))
      return { list, from: file, problems, signature: seen.signature }
    } catch (e) {
      problems.push({ file, why: e instanceof Error ? e.message : String(e) })
    }
  }
  // Broken files are somebody's intent: pods must not silently land on another network because of a typo.
  if (options.defaultNetwork && problems.length === 0) {
    const list = parseConf('default.conflist', defaultConf(options.defaultNetwork))
    return { list, from: BUILT_IN, problems, signature: seen.signature }
  }
  return { list: undefined, from: undefined, problems, signature: seen.signature }
}

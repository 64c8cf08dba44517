// SPDX-License-Identifier: Apache-2.0
/**
 * crictl: the crictl program that `conformance/build.sh` made, pointed at one socket. It runs one command at a
 * time and gives its output and exit code; what they should be is `scenario.ts`. It reads no configuration of
 * this machine.
 */
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const conformance = dirname(dirname(fileURLToPath(import.meta.url)))
export const crictlProgram = join(conformance, 'bin/crictl')

export interface Output {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

export interface Crictl {
  /** Folder for the configuration files of pods and containers. */
  readonly dir: string
  /** Runs it; a failing command is a result like any other. */
  run(...args: readonly string[]): Promise<Output>
  /** Runs it and gives stdout without white space around it. Rejects, with all it said, when it fails. */
  ok(...args: readonly string[]): Promise<string>
  /** The same for a command that prints JSON. */
  json(...args: readonly string[]): Promise<unknown>
  /** Runs it while `work` goes on, which sees what it has printed; then interrupts it. Gives all it printed. */
  during(args: readonly string[], work: (printed: () => string) => Promise<void>): Promise<string>
  /** Writes a configuration file into `dir`; gives its path. */
  file(name: string, content: unknown): Promise<string>
}

/**
 * Builds the programs named. Gives undefined, or why this machine cannot build them. Rejects when building
 * fails although it should not.
 */
export async function buildTools(
  ...tools: readonly ('crictl' | 'critest' | 'ginkgo' | 'streamclient' | `kubelet-${string}`)[]
): Promise<string | undefined> {
  try {
    await promisify(execFile)('sh', [join(conformance, 'build.sh'), ...tools], { maxBuffer: 1 << 24 })
    return undefined
  } catch (e) {
    const { code, stderr } = failureOf(e)
    if (code === 3) return stderr.trim()
    throw new Error(`conformance/build.sh: ${stderr.slice(-2000)}`, { cause: e })
  }
}

function failureOf(error: unknown): Output {
  const read = (key: string): unknown => (error instanceof Error ? Reflect.get(error, key) : undefined)
  const text = (value: unknown): string => (typeof value === 'string' ? value : '')
  const code = read('code')
  return {
    code: typeof code === 'number' ? code : -1,
    stdout: text(read('stdout')),
    stderr: text(read('stderr')) || String(error),
  }
}

/** crictl on `socket`, its files in `dir` (made if absent). */
export async function makeCrictl(socket: string, dir: string): Promise<Crictl> {
  await mkdir(dir, { recursive: true })
  const config = join(dir, 'crictl.yaml')
  const endpoint = `unix://${socket}`
  await writeFile(config, `runtime-endpoint: ${endpoint}\nimage-endpoint: ${endpoint}\ntimeout: 30\n`)
  const options = { maxBuffer: 1 << 26, timeout: 120_000, env: { PATH: process.env.PATH, HOME: dir } }
  const run = async (...args: readonly string[]): Promise<Output> => {
    return promisify(execFile)(crictlProgram, ['--config', config, ...args], options).then(
      ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
      failureOf,
    )
  }
  const ok = async (...args: readonly string[]): Promise<string> => {
    const { code, stdout, stderr } = await run(...args)
    if (code !== 0) throw new Error(`crictl ${args.join(' ')}: exit ${code}\n${stdout}${stderr}`)
    return stdout.trim()
  }
  return {
    dir,
    run,
    ok,
    json: async (...args) => {
      const value: unknown = JSON.parse(await ok(...args))
      return value
    },
    during: async (args, work) => {
      let text = ''
      const child = execFile(crictlProgram, ['--config', config, ...args], options)
      const ended = once(child, 'close')
      child.stdout?.on('data', (piece) => {
        text += piece
      })
      await work(() => text).finally(() => child.kill('SIGINT'))
      await ended
      return text
    },
    file: async (name, content) => {
      const path = join(dir, name)
      await writeFile(path, JSON.stringify(content))
      return path
    },
  }
}

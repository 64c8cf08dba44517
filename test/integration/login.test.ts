// SPDX-License-Identifier: Apache-2.0
/**
 * login and logout as programs: what is tried where, what is kept and what stays in the file, what the terminal
 * shows, and that nothing is changed when the registry says no.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { expectNoLeaks, type Snapshot, snapshot } from '../support/leak-check.ts'
import { type PullRegistry, pullRegistry } from '../support/pull-registry.ts'

const cli = join(import.meta.dirname, '../../src/cli.ts')
const PASSWORD = 'correct horse: ö'
const AUTH = Buffer.from(`ann:${PASSWORD}`).toString('base64')

let leaks: Snapshot
let root: string
let file: string
let registry: PullRegistry

beforeAll(async () => {
  leaks = await snapshot({ roots: [join(tmpdir(), 'gt-login-')], linkPrefixes: [] })
})
afterAll(() => expectNoLeaks(leaks))
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'gt-login-'))
  file = join(root, 'etc', 'auth.json')
  await writeFile(join(root, 'gantry.toml'), '')
  registry = await pullRegistry()
  registry.intercept = (req, res) => {
    const good = req.headers.authorization === `Basic ${AUTH}`
    res.writeHead(good ? 200 : 401, good ? {} : { 'www-authenticate': 'Basic realm="r"' })
    res.end(
      good ? '{}' : JSON.stringify({ errors: [{ code: 'NO', message: `${req.headers.authorization}` }] }),
    )
    return true
  }
})
afterEach(async () => {
  await registry[Symbol.asyncDispose]()
  await rm(root, { recursive: true, force: true })
})

interface Ran {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

const environment = () => ({
  PATH: process.env.PATH,
  GANTRY_CONFIG: join(root, 'gantry.toml'),
  GANTRY_REGISTRY_AUTH_FILES: `${file},${join(root, 'other.json')}`,
  GANTRY_REGISTRY_CONFIG_PATH: join(root, 'certs.d'),
  GANTRY_REGISTRY_REGISTRIES_CONF: join(root, 'registries.conf'),
  GANTRY_REGISTRY_REGISTRIES_CONF_DIR: join(root, 'registries.conf.d'),
})

async function gantry(argv: readonly string[], stdin = ''): Promise<Ran> {
  const child = spawn(process.execPath, [cli, ...argv], { env: environment(), timeout: 30_000 })
  child.stdin.on('error', () => {})
  child.stdin.end(stdin)
  const [out, err, [code]] = await Promise.all([
    child.stdout.toArray(),
    child.stderr.toArray(),
    once(child, 'exit'),
  ])
  return {
    code: Number(code),
    stdout: Buffer.concat(out).toString('utf8'),
    stderr: Buffer.concat(err).toString('utf8'),
  }
}

const login = (password: string, ...more: string[]) =>
  gantry(['login', '-u', 'ann', '--password-stdin', registry.host, ...more], password)
const kept = async () => JSON.parse(await readFile(file, 'utf8'))

describe('login', () => {
  test('tries the credentials and keeps them, for root only, in a file made with its folder', async () => {
    expect(await login(`${PASSWORD}\n`)).toEqual({
      code: 0,
      stdout: `logged in to ${registry.host}: kept in ${file}\n`,
      stderr: '',
    })
    expect(await kept()).toEqual({ auths: { [registry.host]: { auth: AUTH } } })
    expect((await stat(file)).mode & 0o777).toBe(0o600)
    expect(await readdir(join(root, 'etc'))).toEqual(['auth.json'])
    expect(registry.seen.map((r) => `${r.method} ${r.path}`)).toEqual(['GET /v2/', 'GET /v2/'])
  })

  test('at the same moment by several keeps what each has said', async () => {
    const names = ['a', 'b', 'c', 'd'].map((name) => `${registry.host}/${name}`)
    const ran = await Promise.all(
      names.map((name) => gantry(['login', '-u', 'ann', '--password-stdin', name], PASSWORD)),
    )
    expect(ran.map((one) => one.code)).toEqual([0, 0, 0, 0])
    expect(Object.keys((await kept()).auths).sort()).toEqual(names)
    expect(await readdir(join(root, 'etc'))).toEqual(['auth.json'])
  })

  test('by a token endpoint: no scope is asked for', async () => {
    registry.intercept = (req, res) => {
      if (req.path === '/token') {
        const good = req.headers.authorization === `Basic ${AUTH}` && !req.query.has('scope')
        res.writeHead(good ? 200 : 401)
        res.end(JSON.stringify({ token: 't' }))
        return true
      }
      const good = req.headers.authorization === 'Bearer t'
      const challenge = `Bearer realm="http://${registry.host}/token",service="s"`
      res.writeHead(good ? 200 : 401, good ? {} : { 'www-authenticate': challenge })
      res.end()
      return true
    }
    expect(await login(PASSWORD)).toMatchObject({ code: 0 })
    await rm(file)
    const refused = await login('wrong-password')
    expect(refused).toMatchObject({ code: 1, stdout: '' })
    expect(refused.stderr).toContain('the credentials of ann were refused')
    await expect(stat(file)).rejects.toThrow('ENOENT')
  })

  test('refused credentials change nothing and are not shown', async () => {
    await mkdir(join(root, 'etc'))
    await writeFile(file, '{"auths":{}}', { mode: 0o644 })
    const ran = await login('wrong-password')
    expect(ran).toMatchObject({ code: 1, stdout: '' })
    expect(ran.stderr).toBe(
      `gantry: http://${registry.host} asks for authentication: the credentials of ann were refused\n`,
    )
    expect(await readFile(file, 'utf8')).toBe('{"auths":{}}')
  })

  test('takes the place of other spellings, and keeps the rest of the file', async () => {
    await mkdir(join(root, 'etc'))
    const rest = { HttpHeaders: { a: 'b' }, credHelpers: { 'gcr.io': 'gcloud' } }
    const auths = { [`http://${registry.host}/v2/`]: { auth: 'b2xk' }, 'x.io': { auth: 'eDp5', email: 'e' } }
    await writeFile(file, JSON.stringify({ ...rest, auths }))
    expect(await login(PASSWORD)).toMatchObject({ code: 0 })
    expect(await kept()).toEqual({
      ...rest,
      auths: { 'x.io': { auth: 'eDp5', email: 'e' }, [registry.host]: { auth: AUTH } },
    })
  })

  test('a file that a helper decides about, or that is broken, is left alone', async () => {
    await mkdir(join(root, 'etc'))
    for (const [text, why] of [
      [JSON.stringify({ credHelpers: { [registry.host]: 'x' } }), 'docker-credential-x, which goes before'],
      ['{"auths": secret', `${file} is not JSON`],
    ] as const) {
      await writeFile(file, text)
      const ran = await login(PASSWORD)
      expect(ran.code).toBe(1)
      expect(ran.stderr).toContain(why)
      expect(ran.stderr).not.toContain('secret')
      expect(await readFile(file, 'utf8')).toBe(text)
    }
    expect(registry.seen).toEqual([])
  })

  test('goes to the registry itself, as hosts.toml says to reach it, and to none of its mirrors', async () => {
    await using mirror = await pullRegistry()
    const folder = join(root, 'certs.d', registry.host)
    await mkdir(folder, { recursive: true })
    await writeFile(
      join(folder, 'hosts.toml'),
      `server = "http://${registry.host}"\n[header]\nx-operator = "yes"\n[host."http://${mirror.host}"]\n`,
    )
    expect(await login(PASSWORD)).toMatchObject({ code: 0 })
    expect(mirror.seen).toEqual([])
    expect(registry.seen[0]?.headers['x-operator']).toBe('yes')
  })

  test('a registry that registries.conf blocks is not asked', async () => {
    await writeFile(
      join(root, 'registries.conf'),
      `[[registry]]\nlocation = "${registry.host}"\nblocked = true\n`,
    )
    const ran = await login(PASSWORD)
    expect(ran.code).toBe(1)
    expect(ran.stderr).toContain('blocked')
    expect(registry.seen).toEqual([])
  })

  test('says what was not tried, and that a file is not read by pulls', async () => {
    registry.intercept = (_req, res) => {
      res.end('{}')
      return true
    }
    const own = join(root, 'own.json')
    const ran = await login(PASSWORD, `--auth-file=${own}`)
    expect(ran.code).toBe(0)
    expect(ran.stderr).toContain('asks for no credentials, so these were not tried')
    expect(ran.stderr).toContain(`pulls do not read ${own}`)
    expect((await stat(own)).mode & 0o777).toBe(0o600)
  })

  test.each([
    [[], '', 'use --username and --password-stdin'],
    [['--password-stdin'], 'pw', '--password-stdin needs --username'],
    [['-u', 'ann', '--password-stdin'], '\n', 'must not be empty'],
    [['-u', 'a:b', '--password-stdin'], 'pw', 'no colon'],
    [['-u', 'ann', '-p', 'hunter2'], '', 'use --password-stdin'],
  ])('%j is a wrong command line: %s%s', async (argv, stdin, why) => {
    const ran = await gantry(['login', ...argv, registry.host], stdin)
    expect(ran.code).toBe(2)
    expect(ran.stderr).toContain(why)
    expect(ran.stderr).not.toContain('hunter2')
    expect(registry.seen.filter((r) => r.headers.authorization !== undefined)).toEqual([])
  })

  /** On a terminal of its own: types each line when it is asked for. Gives the exit code and what was shown. */
  async function onTerminal(
    lines: Readonly<Record<string, string>>,
  ): Promise<{ code: number; shown: string }> {
    const command = `'${process.execPath}' '${cli}' login ${registry.host}`
    const child = spawn('script', ['-qec', command, '/dev/null'], { env: environment(), timeout: 30_000 })
    let shown = ''
    const waiting = Object.entries(lines)
    child.stdout.on('data', (part: Buffer) => {
      shown += part.toString('utf8')
      const [question, answer] = waiting[0] ?? []
      if (question === undefined || answer === undefined || !shown.includes(question)) return
      waiting.shift()
      child.stdin.write(answer)
    })
    const [code] = await once(child, 'close')
    return { code: Number(code), shown }
  }

  test('on a terminal it asks, and does not show the password', async () => {
    const { code, shown } = await onTerminal({ 'Username: ': 'ann\r', 'Password: ': `${PASSWORD}\r` })
    expect(shown).toContain('logged in to')
    expect(code).toBe(0)
    expect(shown).toContain('ann')
    expect(shown).not.toContain('correct')
    expect(await kept()).toEqual({ auths: { [registry.host]: { auth: AUTH } } })
  })

  test.each(['\x03', '\x04'])('the key %j ends it', async (key) => {
    const { code } = await onTerminal({ 'Username: ': 'ann\r', 'Password: ': key })
    expect(code).toBe(130)
    expect(registry.seen).toEqual([])
    await expect(stat(file)).rejects.toThrow('ENOENT')
  })
})

describe('logout', () => {
  const two = { 'x.io': { auth: 'eDp5' }, 'https://y.io/v1/': { auth: 'eDp5' } }
  beforeEach(async () => {
    await mkdir(join(root, 'etc'))
    await writeFile(file, JSON.stringify({ auths: two, credsStore: 's' }))
    await writeFile(join(root, 'other.json'), JSON.stringify({ auths: { 'y.io': {} } }))
  })

  test('forgets one registry, however it is spelled, and names the other file that knows it', async () => {
    expect(await gantry(['logout', 'y.io'])).toEqual({
      code: 0,
      stdout: `logged out of y.io: taken out of ${file}\n`,
      stderr: `gantry: ${join(root, 'other.json')} has credentials for y.io too\n`,
    })
    expect(await kept()).toEqual({ auths: { 'x.io': { auth: 'eDp5' } }, credsStore: 's' })
  })

  test('forgets all', async () => {
    expect(await gantry(['logout', '--all'])).toMatchObject({ code: 0 })
    expect(await kept()).toEqual({ auths: {}, credsStore: 's' })
  })

  test('of a registry that is not in the file, or without a file, is no failure and changes nothing', async () => {
    for (const argv of [['z.io'], ['--auth-file', join(root, 'missing.json'), 'x.io']]) {
      const ran = await gantry(['logout', ...argv])
      expect(ran.code).toBe(0)
      expect(ran.stdout).toContain('not logged in to')
    }
    expect((await kept()).auths).toEqual(two)
    expect(await readdir(root)).not.toContain('missing.json')
  })
})

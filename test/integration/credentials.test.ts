// SPDX-License-Identifier: Apache-2.0
/**
 * Credentials of the node: helpers as programs, with all that they may do wrong, and whole pulls by the image
 * worker: who gets which credentials, and that no error has them in it.
 */
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { imagePuller } from '../../src/host/images/puller.ts'
import { askHelper } from '../../src/host/registry/cred-helper.ts'
import { type RegistryAuth, seal } from '../../src/model/pull-policy.ts'
import { parseReference } from '../../src/model/reference.ts'
import { native, pullerOptions, scope } from '../support/image-store.ts'
import { expectNoLeaks, type Snapshot, snapshot } from '../support/leak-check.ts'
import { buildImage } from '../support/oci-image.ts'
import { buildLayer } from '../support/oci-layer.ts'
import { type PullRegistry, pullRegistry } from '../support/pull-registry.ts'

let leaks: Snapshot
let root: string
let bin: string

beforeAll(async () => {
  leaks = await snapshot({ roots: [join(tmpdir(), 'gt-credentials-')], linkPrefixes: [] })
})
afterAll(() => expectNoLeaks(leaks))
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'gt-credentials-'))
  bin = join(root, 'bin')
  await mkdir(bin)
})
afterEach(() => rm(root, { recursive: true, force: true }))

/** Makes `docker-credential-NAME`, a shell script. */
async function helper(name: string, script: string, mode = 0o755): Promise<void> {
  const file = join(bin, `docker-credential-${name}`)
  await writeFile(file, `#!/bin/sh\n${script}\n`)
  await chmod(file, mode)
}

const answer = (user: string, secret: string) =>
  `echo '${JSON.stringify({ ServerURL: 'any', Username: user, Secret: secret })}'`

describe('a helper', () => {
  const ask = (name: string, host = 'https://reg.io', own = scope) =>
    askHelper(
      own,
      { native, dirs: [join(root, 'none'), bin], deadlineMs: 2_000 },
      { name, host: new URL(host), namedIn: '/f/config.json' },
    )

  test('gives username and secret, or an identity token', async () => {
    await helper('user', answer('ann', 'pw'))
    await helper('token', answer('<token>', 'it'))
    const none = { basic: undefined, identityToken: undefined, registryToken: undefined }
    expect(await ask('user')).toEqual({
      ...none,
      basic: { username: 'ann', password: 'pw' },
      from: 'docker-credential-user',
    })
    expect(await ask('token')).toEqual({ ...none, identityToken: 'it', from: 'docker-credential-token' })
  })

  test.each([
    ['https://reg.io', 'reg.io'],
    ['http://reg.io:5000', 'reg.io:5000'],
    ['https://registry-1.docker.io', 'https://index.docker.io/v1/'],
  ])('is asked about %s as %s, by "get", with PATH and HOME', async (host, server) => {
    await helper(
      'spy',
      `{ echo "$*"; cat; echo; echo "$PATH"; echo "$HOME"; } > '${root}/seen'; ${answer('a', 'b')}`,
    )
    await ask('spy', host)
    expect(await readFile(join(root, 'seen'), 'utf8')).toBe(
      `get\n${server}\n${join(root, 'none')}:${bin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n${process.env.HOME ?? '/root'}\n`,
    )
  })

  test.each([
    ['says so', 'echo "credentials not found in native keychain"; exit 1'],
    ['gives an empty secret', answer('', '')],
  ])('that has none %s', async (_how, script) => {
    await helper('none', script)
    expect(await ask('none')).toBeUndefined()
  })

  test.each([
    [
      'fails',
      'echo s3cret; echo s3cret >&2; exit 7',
      'unavailable',
      'it failed with code 7; to see why: echo reg.io |',
    ],
    ['is killed', 'kill -9 $$', 'unavailable', 'it failed with signal 9'],
    ['prints no JSON', 'echo s3cret', 'unavailable', 'is not JSON with "Username"'],
    [
      'prints other JSON',
      `echo '{"Username": "ann", "Secret": ["s3cret"]}'`,
      'unavailable',
      'is not JSON with',
    ],
    ['prints without end', 'exec yes s3cret', 'unavailable', 'it printed more than 65536 bytes'],
    ['hangs', 'echo s3cret; sleep 60', 'timeout', 'no answer within 2000 ms; try: echo reg.io |'],
  ])('that %s is named, with what names it, and nothing that it said', async (_what, script, kind, why) => {
    await helper('bad', script)
    const failed = ask('bad')
    await expect(failed).rejects.toMatchObject({ kind })
    await expect(failed).rejects.toThrow(`docker-credential-bad, which /f/config.json names for reg.io`)
    await expect(failed).rejects.toThrow(why)
    await expect(failed).rejects.not.toThrow('s3cret')
  })

  test('that anybody may write is not started, one that is missing is named with the folders', async () => {
    await helper('open', `touch '${root}/started'; ${answer('a', 'b')}`, 0o757)
    await expect(ask('open')).rejects.toMatchObject({ kind: 'denied' })
    await helper('plain', answer('a', 'b'), 0o644)
    await expect(ask('plain')).rejects.toThrow(`is not in ${join(root, 'none')}, ${bin}: install it`)
    expect(await readdir(root)).toEqual(['bin'])
  })

  test.each(['', '.', '..', '../x', 'a/b', '/bin/sh', '-x', 'a b', 'a\nb', 'a\0b', 'x'.repeat(65)])(
    'the name %j starts nothing',
    async (name) => {
      await expect(ask(name)).rejects.toMatchObject({ kind: 'invalid' })
      await expect(ask(name)).rejects.toThrow('is not the name of a credential helper')
    },
  )

  test('ends with the pull that asks', async () => {
    await helper('slow', `echo $$ > '${root}/pid'; sleep 60`)
    const end = new AbortController()
    const asked = ask('slow', 'https://reg.io', { signal: end.signal, log: scope.log })
    asked.catch(() => {})
    await expect.poll(() => readFile(join(root, 'pid'), 'utf8').catch(() => '')).not.toBe('')
    end.abort(new Error('the caller has left'))
    await expect(asked).rejects.toMatchObject({ kind: 'cancelled' })
    const pid = (await readFile(join(root, 'pid'), 'utf8')).trim()
    await expect(readFile(`/proc/${pid}/stat`)).rejects.toThrow('ENOENT')
  })
})

describe('a pull', () => {
  let registry: PullRegistry
  let file: string

  const basicOf = (user: string) => Buffer.from(`${user}:pw-of-${user}`).toString('base64')
  const sentTo = (to: PullRegistry) =>
    [...new Set(to.seen.map((r) => r.headers.authorization))].map((sent) => sent ?? 'nothing')

  /** Lets in `user` by Basic. */
  function guard(who: PullRegistry, user: string): void {
    who.intercept = (req, res) => {
      if (req.headers.authorization === `Basic ${basicOf(user)}`) return false
      res.writeHead(401, { 'www-authenticate': 'Basic realm="r"' })
      res.end(JSON.stringify({ errors: [{ code: 'NO', message: `${req.headers.authorization}` }] }))
      return true
    }
  }

  beforeEach(async () => {
    registry = await pullRegistry()
    const image = buildImage({ layers: [await buildLayer([{ type: 'file', path: 'a', content: 'a' }])] })
    registry.add('team/app', 'v1', image)
    guard(registry, 'ann')
    file = join(root, 'auth.json')
  })
  afterEach(() => registry[Symbol.asyncDispose]())

  async function pull(auth: RegistryAuth = {}) {
    const files = { authFiles: [join(root, 'missing.json'), file], helperDirs: [bin] }
    const options = pullerOptions(root, files)
    await options.layers.prepare()
    const puller = imagePuller(options)
    const reference = parseReference(`${registry.host}/team/app:v1`)
    return puller.pull(scope, { reference, auth: seal(auth) }, { onPlan: async () => {} })
  }

  test('without credentials in the request uses those of the file for the repository', async () => {
    const auths = {
      [registry.host]: { auth: basicOf('bob') },
      [`${registry.host}/team`]: { auth: basicOf('ann') },
    }
    await writeFile(file, JSON.stringify({ auths }), { mode: 0o600 })
    await pull()
    expect(sentTo(registry)).toEqual(['nothing', `Basic ${basicOf('ann')}`])
  })

  test('asks a helper, and uses its identity token at the token endpoint only', async () => {
    await writeFile(file, JSON.stringify({ credHelpers: { [registry.host]: 'id' } }), { mode: 0o600 })
    await helper('id', answer('<token>', 'identity-1'))
    registry.intercept = async (req, res) => {
      if (req.path === '/token') {
        const form = new URLSearchParams(await req.body())
        const good = req.method === 'POST' && form.get('refresh_token') === 'identity-1'
        res.writeHead(good ? 200 : 401)
        res.end(JSON.stringify({ access_token: 'short-lived' }))
        return true
      }
      if (req.headers.authorization === 'Bearer short-lived') return false
      res.writeHead(401, { 'www-authenticate': `Bearer realm="http://${registry.host}/token",service="s"` })
      res.end()
      return true
    }
    await pull()
    expect(sentTo(registry)).toEqual(['nothing', 'Bearer short-lived'])
  })

  test('the credentials of the request go before; a mirror gets its own, and neither the other’s', async () => {
    await using mirror = await pullRegistry()
    guard(mirror, 'mia')
    const folder = join(root, 'certs.d', registry.host)
    await mkdir(folder, { recursive: true })
    await writeFile(
      join(folder, 'hosts.toml'),
      `server = "http://${registry.host}"\n[host."http://${mirror.host}"]\n`,
    )
    const auths = { [mirror.host]: { auth: basicOf('mia') }, [registry.host]: { auth: basicOf('bob') } }
    await writeFile(file, JSON.stringify({ auths }), { mode: 0o600 })
    await pull({ auth: basicOf('ann') })
    expect(sentTo(mirror)).toEqual(['nothing', `Basic ${basicOf('mia')}`])
    expect(sentTo(registry)).toEqual(['nothing', `Basic ${basicOf('ann')}`])
  })

  test('credentials of the request for another server are not sent; the node’s are', async () => {
    await writeFile(file, JSON.stringify({ auths: { [registry.host]: { auth: basicOf('ann') } } }))
    await pull({ auth: basicOf('eve'), serverAddress: 'https://other.io/v2/' })
    expect(sentTo(registry)).toEqual(['nothing', `Basic ${basicOf('ann')}`])
  })

  test.each<[string, string, RegistryAuth, RegExp]>([
    [
      'refused',
      '{"auths": {"HOST": {"username": "ann", "password": "s3cret-pw"}}}',
      {},
      /auth\.json for 127.* were refused/,
    ],
    [
      'refused ones of the request',
      '{}',
      { username: 'ann', password: 's3cret-pw' },
      /the request were refused/,
    ],
    ['none', '{}', {}, /no credentials were given for it/],
    ['a broken file', '{"auths": {"HOST": s3cret-pw', {}, /auth\.json is not JSON/],
    [
      'a helper that fails',
      '{"credsStore": "fails"}',
      {},
      /docker-credential-fails, which .*failed with code 1/,
    ],
    ['a helper that is a path', '{"credsStore": "../../s"}', {}, /is not the name of a credential helper/],
    ['a request with bad credentials', '{}', { auth: 's3cret-pw' }, /the request: "auth" is not the base64/],
  ])('with %s fails by saying so, without a secret', async (_what, text, auth, why) => {
    await helper('fails', 'echo s3cret-pw; exit 1')
    await writeFile(file, text.replace('HOST', registry.host), { mode: 0o600 })
    const failed = pull(auth)
    await expect(failed).rejects.toThrow(why)
    await expect(failed).rejects.not.toThrow(/s3cret|YW5u/)
  })
})

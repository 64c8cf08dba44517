// SPDX-License-Identifier: Apache-2.0
/**
 * The command line as a user meets it: what is refused before a start, the self-check end to end, the screen of
 * a running daemon, Ctrl-C with containers that go on, and the second start that finds them.
 */
import { execFile } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { access, chmod, constants, mkdir, readdir, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ensureTestImages } from '../images/build.ts'
import { names } from '../images/catalog.ts'
import type { OwnedChild } from '../support/child.ts'
import { startChild, waitUntil } from '../support/child.ts'
import { type CriClient, connect } from '../support/cri-client.ts'
import { containerConfig, ensureImage, execSync, podConfig, runPod } from '../support/cri-requests.ts'
import type { Daemon } from '../support/daemon.ts'
import { startDaemon } from '../support/daemon.ts'
import type { Snapshot } from '../support/leak-check.ts'
import { expectNoLeaks, snapshot } from '../support/leak-check.ts'
import type { Registry } from '../support/registry.ts'
import { hostsOf, startRegistry, writeHostsToml } from '../support/registry.ts'
import type { Workspace } from '../support/workspace.ts'
import { makeWorkspace } from '../support/workspace.ts'

const gantry = join(dirname(fileURLToPath(import.meta.url)), '../../bin/gantry')

interface Ran {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** Runs a program to its end. */
function run(program: string, args: readonly string[]): Promise<Ran> {
  return new Promise((resolve, reject) => {
    execFile(program, args, { timeout: 60_000, killSignal: 'SIGKILL' }, (error, stdout, stderr) => {
      if (error === null) resolve({ code: 0, stdout, stderr })
      else if (typeof error.code === 'number') resolve({ code: error.code, stdout, stderr })
      else reject(error)
    })
  })
}

/** What stood on stderr beside the daemon's log. */
const said = (ran: Ran): string =>
  ran.stderr
    .split('\n')
    .filter((line) => !line.startsWith('{'))
    .join('\n')
    .trim()

/** Less than the default, so that a test can see that the option is in force. */
const execOutputBytes = 65_536

let w: Workspace
let registry: Registry
let before: Snapshot

/** The flags of a daemon with a network of its own, in the places of the workspace. */
const own = (): string[] => [
  `--config=${w.configFile}`,
  '--default-network',
  `--cni-default-bridge=${w.bridge}`,
  `--cni-default-subnet=${w.subnet}`,
  `--limits-max-exec-output-bytes=${execOutputBytes}`,
]

beforeAll(async () => {
  const layout = await ensureTestImages()
  registry = await startRegistry()
  await registry.pushLayout(layout, [names.busybox])
  w = await makeWorkspace({ withoutNetwork: true })
  await writeHostsToml(w.certs, hostsOf([names.busybox]), registry.url)
  before = await snapshot(w.leakScope())
}, 300_000)

afterAll(async () => {
  try {
    await expectNoLeaks(before)
  } finally {
    await w?.remove()
    await registry?.stop()
  }
})

describe('what is refused before anything is started', () => {
  /** A root and a run folder that are not there, and must not be afterwards. */
  const fresh = (): { flags: string[]; expectNothing: () => void } => {
    const [root, runDir] = [join(w.root, 'fresh'), join(w.root, 'frun')]
    return {
      flags: [
        `--config=${w.configFile}`,
        `--root=${root}`,
        `--run-dir=${runDir}`,
        `--socket=${runDir}/s.sock`,
      ],
      expectNothing: () => expect([root, runDir].filter((path) => existsSync(path))).toEqual([]),
    }
  }

  async function refused(args: readonly string[], message: string | RegExp, code = 1): Promise<void> {
    const { flags, expectNothing } = fresh()
    const ran = await run(gantry, ['serve', ...flags, ...args])
    expect(said(ran)).toMatch(message)
    expect(said(ran)).not.toMatch(/^ {4}at /m)
    expect(ran).toMatchObject({ code, stdout: '' })
    expectNothing()
  }

  it('a user who is not root', async ({ skip }) => {
    const nobody = ['--reuid=65534', '--regid=65534', '--clear-groups', '--']
    const reach = await run('setpriv', [...nobody, 'test', '-r', join(dirname(gantry), '../dist/cli.js')])
    if (reach.code !== 0) skip('this checkout cannot be read by nobody')
    const { flags, expectNothing } = fresh()
    const ran = await run('setpriv', [...nobody, gantry, 'serve', ...flags.slice(1)])
    expect(ran).toEqual({ code: 1, stdout: '', stderr: 'gantry: gantryd has to be run as root (try sudo)\n' })
    expectNothing()
  })

  it('a runtime that is not installed', async () => {
    const file = join(w.root, 'no-runc.toml')
    await writeFile(file, `${readFileSync(w.configFile, 'utf8')}\n[runtimes.runc]\npath = "/nowhere/runc"\n`)
    await refused(
      [`--config=${file}`],
      /^gantry: runtime handler runc: \/nowhere\/runc is not installed; install it, or set runtimes\.runc\.path$/,
    )
  })

  it('a broken configuration, with all its problems at once', async () => {
    const file = join(w.root, 'broken.toml')
    await writeFile(file, 'rot = "/x"\n[log]\nlevel = "loud"\n')
    const { expectNothing } = fresh()
    const ran = await run(gantry, ['serve', `--config=${file}`, '--root=relative'])
    expect(ran.stderr.split('\n')).toEqual([
      'gantry: the configuration has 3 problems:',
      `  ${file}: rot: there is no such option; did you mean root?`,
      `  ${file}: log.level: "loud" is not one of debug, info, warn, error`,
      '  --root: "relative" is not an absolute path without ".."',
      '',
    ])
    expect(ran.code).toBe(1)
    expectNothing()
  })

  it('an unknown flag, with the nearest one and another exit code', async () => {
    await refused(
      ['--rot=/x'],
      /^gantry: the configuration has a problem:\n {2}--rot: .*did you mean --root\?$/,
      2,
    )
  })

  it('a group that is not there', async () => {
    await refused(['--socket-group=gt-nogroup'], /^gantry: socket_group: the group "gt-nogroup" is not in /)
  })

  it('a socket that somebody serves, who goes on to', async () => {
    const socket = join(w.root, 'busy.sock')
    const server = createServer((c) => c.on('error', () => {}).destroy())
    await new Promise<void>((resolve) => server.listen(socket, resolve))
    try {
      await refused(
        [`--socket=${socket}`],
        /^gantry: another program is serving .*busy\.sock: stop it, or set socket$/,
      )
      await access(socket, constants.F_OK)
    } finally {
      await new Promise((resolve) => server.close(resolve))
    }
  })

  it('a socket path that is another kind of file, which stays', async () => {
    const path = join(w.root, 'notes.txt')
    await writeFile(path, 'keep me')
    await refused([`--socket=${path}`], /notes\.txt is there and is no socket/)
    expect(readFileSync(path, 'utf8')).toBe('keep me')
  })

  it('a root that cannot be made', async () => {
    const path = join(w.root, 'a-file')
    await writeFile(path, '')
    const ran = await run(gantry, ['serve', `--config=${w.configFile}`, `--root=${path}/below`])
    expect(said(ran)).toMatch(/^gantry: cannot make the folder .*a-file\/below .*: ENOTDIR/)
    expect(ran.code).toBe(1)
  })

  it('a second daemon on one root', async () => {
    const daemon: Daemon = await startDaemon(w)
    try {
      const runDir = join(w.root, 'two')
      const args = [`--config=${w.configFile}`, `--run-dir=${runDir}`, `--socket=${runDir}/s.sock`]
      const second = await run(gantry, ['serve', ...args])
      expect(said(second)).toMatch(/^gantry: another gantryd is running on .*\/state: stop it first/)
      expect(second.code).toBe(1)
      const same = await run(gantry, ['serve', `--config=${w.configFile}`])
      expect(said(same)).toMatch(/^gantry: another program is serving /)
      expect(same.code).toBe(1)
      expect((await daemon.client.call('Version', {})).runtimeName).toBe('gantry')
    } finally {
      await daemon.stop()
    }
  })
})

describe('commands without a daemon', () => {
  it('status says what to do, with an exit code of its own', async () => {
    const ran = await run(gantry, ['status', `--socket=${w.root}/none.sock`])
    expect(ran.stderr).toMatch(
      /^gantry: no daemon answers on .*none\.sock: there is no such socket; start it with /,
    )
    expect(ran).toMatchObject({ code: 3, stdout: '' })
  })

  it('doctor finds no problem where the suites can run, and gives a bad plugin folder away', async () => {
    const healthy = await run(gantry, ['doctor', '--json', ...own()])
    const { ok, checks } = JSON.parse(healthy.stdout)
    expect(checks.filter((c: { verdict: string }) => c.verdict === 'problem')).toEqual([])
    expect([ok, healthy.code]).toEqual([true, 0])
    const broken = await run(gantry, ['doctor', ...own(), `--cni-bin-dirs=${w.root}/none`])
    expect(broken.stdout).toMatch(
      /^problem +network plugins +network gantry names bridge, host-local, portmap/m,
    )
    expect(broken.stdout).not.toContain('\x1b')
    expect(broken.code).toBe(1)
  })

  it('a slip is answered with the nearest word', async () => {
    const ran = await run(gantry, ['statsu'])
    expect(ran).toEqual({
      code: 2,
      stdout: '',
      stderr: 'gantry: there is no command "statsu"; did you mean status?\nSee gantry --help.\n',
    })
  })
})

/** `gantry serve --self-check` in a session of its own, as a terminal would have it, until it says it is ready. */
async function serveChecked(): Promise<OwnedChild> {
  const child = await startChild('setsid', [gantry, 'serve', '--self-check', ...own()])
  let ended = false
  void child.exited.then(() => {
    ended = true
  })
  await waitUntil(
    'gantry serve --self-check is ready',
    () => ended || child.lines.some((line) => line.startsWith('Ctrl-C stops the daemon')),
    { withinMs: 60_000 },
  )
  if (ended) throw new Error(`gantry serve ended:\n${child.tail()}`)
  return child
}

/** Ctrl-C: the signal goes to the whole process group. */
async function ctrlC(child: OwnedChild): Promise<void> {
  if (child.pid > 1) process.kill(-child.pid, 'SIGINT')
  expect(await child.exited, child.tail()).toEqual({ code: 0, signal: null })
}

describe('gantry serve --self-check', () => {
  let client: CriClient
  beforeAll(() => {
    client = connect(w.socket)
  })
  afterAll(() => client.close())

  it('says how long its pod took and what to type next, and keeps nothing of it', async () => {
    const child = await serveChecked()
    try {
      const text = child.lines.filter((line) => !line.startsWith('{')).join('\n')
      expect(text).toContain(`serves the CRI on unix://${w.socket}`)
      expect(text).toMatch(/self-check pod was up in \d+ ms and down in \d+ ms; its log line arrived/)
      expect(text).toMatch(new RegExp(`sudo (?:gantry|\\S*bin/gantry) status --socket=${w.socket}$`, 'm'))
      expect(text).toContain(`crictl --runtime-endpoint=unix://${w.socket} info`)
      expect(text).toContain(`--container-runtime-endpoint=unix://${w.socket}`)
      expect(text).toContain(`kubeadm init --cri-socket=unix://${w.socket}`)
      expect((await client.call('ListImages', {})).images).toEqual([])
      expect((await client.call('ListPodSandbox', {})).items).toEqual([])
      expect((await client.call('ListContainers', {})).containers).toEqual([])
      expect(existsSync(join(w.run, 'self-check'))).toBe(false)
    } finally {
      await ctrlC(child)
    }
    const leases = await readdir(join(w.run, 'cni/gantry'))
    expect(leases.filter((name) => /^\d/.test(name))).toEqual([])
    await expectNoLeaks(before)
  })

  it('leaves containers running at Ctrl-C, and a second start finds them', async () => {
    const first = await serveChecked()
    const pod = await ensureImage(client, names.busybox).then(() => runPod(client, podConfig('stays')))
    const id = await pod.start(containerConfig('stays', names.busybox, { command: ['sleep', '1000'] }))
    const pid = async (): Promise<string> =>
      (await execSync(client, id, ['cut', '-d', ' ', '-f22', '/proc/1/stat'])).stdout
    const startTicks = await pid()
    await ctrlC(first)
    expect(existsSync(w.socket)).toBe(false)

    const startedMs = performance.now()
    const second = await serveChecked()
    expect(performance.now() - startedMs).toBeLessThan(30_000)
    try {
      expect(await pid()).toBe(startTicks)
      const status = await run(gantry, ['status', `--config=${w.configFile}`])
      expect(status.stdout).toMatch(/^containers +1 running, 0 created, 0 exited$/m)
      expect(status.stdout).toMatch(/^pods +1 ready, 0 not ready$/m)
      expect(status.stdout).toMatch(/^network +ready \(gantry\)$/m)
      expect(status.stdout).toMatch(/^handlers +runc \(default\), runc version /m)
      // A handler that this machine cannot run is a problem of the machine; there must be no other.
      expect(status.stdout).toMatch(/^problems +(?:none|runtime handler crun: .*)$/m)
      expect(status).toMatchObject({ code: 0, stderr: '' })
      const much = await execSync(client, id, ['head', '-c', '200000', '/dev/zero'])
      expect([much.stdout.length, much.exitCode]).toEqual([execOutputBytes, 0])
      const json = JSON.parse((await run(gantry, ['status', `--config=${w.configFile}`, '--json'])).stdout)
      expect(json).toMatchObject({
        socket: w.socket,
        runtime: { name: 'gantry', criVersion: 'v1', ready: true },
        network: { ready: true, name: 'gantry' },
        pods: { ready: 1, notReady: 0 },
        containers: { created: 0, running: 1, exited: 0 },
        images: { count: 1 },
      })
      expect(json.problems.filter((p: string) => !p.startsWith('runtime handler crun:'))).toEqual([])
    } finally {
      await pod.remove()
      await ctrlC(second)
    }
    await expectNoLeaks(before)
  })

  it('that is interrupted ends at once, and what it was making is gone', async () => {
    const child = await startChild('setsid', [gantry, 'serve', '--self-check', ...own()])
    await waitUntil(
      'the pod of the self-check is being made',
      async () => (await readdir(join(w.run, 'pods'))).length > 0,
      {
        withinMs: 30_000,
        everyMs: 1,
      },
    )
    await ctrlC(child)
    expect(child.tail()).not.toContain('gantry is ready')
    expect(await readdir(join(w.run, 'pods'))).toEqual([])
    await expectNoLeaks(before)
  })

  it('that fails says why in one sentence and leaves nothing', async () => {
    const [bin, conf] = [join(w.root, 'bin'), join(w.root, 'bad-cni')]
    await Promise.all([mkdir(bin), mkdir(conf)])
    const plugin = `#!/bin/sh\n[ "$CNI_COMMAND" = ADD ] || exit 0\necho '{"cniVersion":"1.0.0","code":100,"msg":"no address today"}'\nexit 1\n`
    await writeFile(join(bin, 'gt-refuses'), plugin)
    await chmod(join(bin, 'gt-refuses'), 0o755)
    const list = { cniVersion: '1.0.0', name: 'gt-bad', plugins: [{ type: 'gt-refuses' }] }
    await writeFile(join(conf, '10-bad.conflist'), JSON.stringify(list))
    const args = [`--config=${w.configFile}`, `--cni-conf-dir=${conf}`, `--cni-bin-dirs=${bin}`]
    const ran = await run(gantry, ['serve', '--self-check', ...args])
    expect(said(ran)).toMatch(
      /^gantry: the self-check failed: run pod gantry-self-check\/self-check .*no address today/,
    )
    expect(said(ran).split('\n')).toHaveLength(1)
    expect(ran).toMatchObject({ code: 1, stdout: '' })
    expect(existsSync(w.socket)).toBe(false)
    await expectNoLeaks(before)
  })
})

// SPDX-License-Identifier: Apache-2.0
/**
 * A whole Debian with systemd, cgroup v2 alone, NAT and AppArmor under QEMU, emulated where the processor has no
 * virtualization: one command in a throw-away copy of it, over a copy of this checkout. The first guest of an image
 * boots, which takes half a minute emulated, and its state is kept; the others go on from there within seconds.
 * Needs root, and the packages that `npm run test:vm` installs. Writes nothing but its own cache folder.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'

const here = import.meta.dirname
const repo = join(here, '../../..')
const cache = join(process.env.XDG_CACHE_HOME ?? '/var/cache', 'gantry-test-vm')
const memoryMiB = 4096
const checkoutMiB = 4096
const bootMs = 300_000
const STATUS = /^guest-status (\d+)$/

/** What tests do not need, and the programs that only check sources. */
const left = ['.git', '.cache', 'native/build/fuzz', 'conformance/bin/kubelet-*', 'node_modules/@biomejs']
const excluded = [...left, 'node_modules/@typescript', 'node_modules/knip', 'node_modules/@oxc-*']

export interface GuestRun {
  /** Lines of the command's two outputs, as they come. */
  readonly onLine: (line: string) => void
  readonly timeoutMs: number
}

/** /dev/kvm alone does not tell: without these flags it emulates the kernel, more slowly than QEMU itself. */
function machine(): readonly string[] {
  const kvm = existsSync('/dev/kvm') && /\b(vmx|svm)\b/.test(readFileSync('/proc/cpuinfo', 'utf8'))
  const accel = kvm
    ? ['-accel', 'kvm', '-cpu', 'host']
    : ['-accel', 'tcg,thread=multi,tb-size=1024', '-cpu', 'max,la57=off,smap=off,smep=off']
  const kernel = 'console=ttyS0 quiet panic=-1 mitigations=off net.ifnames=0 apparmor=1 security=apparmor'
  return [
    ...accel,
    ...['-machine', 'q35,memory-backend=ram', '-smp', '2', '-m', String(memoryMiB)],
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
    ...['-kernel', join(cache, 'vmlinuz'), '-initrd', join(cache, 'initrd.img'), '-append', kernel],
  ]
}

interface Machine {
  readonly process: ChildProcess
  readonly folder: string
}

interface Disks {
  readonly ram: string
  readonly root: string
  readonly checkout: string
}

/** The same devices each time, as a kept state needs them. */
function startMachine(folder: string, disks: Disks, more: readonly string[]): Machine {
  const args = [
    ...machine(),
    ...['-object', `memory-backend-file,id=ram,size=${memoryMiB}M,mem-path=${disks.ram}`],
    ...['-drive', `if=virtio,cache=unsafe,${disks.root}`],
    ...['-drive', `if=virtio,cache=unsafe,format=raw,file=${disks.checkout}`],
    ...['-chardev', `file,id=console,path=${folder}/console`, '-serial', 'chardev:console'],
    ...['-chardev', `socket,id=tty,path=${folder}/tty,server=on,wait=off`, '-serial', 'chardev:tty'],
    ...['-qmp', `unix:${folder}/qmp,server=on,wait=off`, ...more],
  ]
  const log = openSync(join(folder, 'log'), 'w')
  const words = ['--pdeathsig', 'KILL', 'nice', '-n', '19', 'qemu-system-x86_64', ...args]
  const child = spawn('setpriv', words, { stdio: ['ignore', log, log] })
  closeSync(log)
  return { process: child, folder }
}

async function endMachine({ process: child }: Machine): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  child.kill('SIGKILL')
  await once(child, 'exit')
}

/** A socket of the machine, as soon as it is there. Throws with QEMU's log when the machine ends instead. */
async function socketOf(m: Machine, name: string): Promise<Socket> {
  for (;;) {
    if (m.process.exitCode !== null)
      throw new Error(`QEMU ended with ${m.process.exitCode}: ${readFileSync(join(m.folder, 'log'), 'utf8')}`)
    const socket = connect(join(m.folder, name))
    const up = await Promise.race([
      once(socket, 'connect').then(() => true),
      once(socket, 'error').then(() => false),
    ]).catch(() => false)
    if (up) return socket
    await sleep(50)
  }
}

/** QEMU's own protocol: one command after the other, events passed over. */
async function control(m: Machine) {
  const socket = await socketOf(m, 'qmp')
  const lines = createInterface({ input: socket })[Symbol.asyncIterator]()
  const send = async (execute: string, args: object = {}): Promise<{ status?: string }> => {
    socket.write(`${JSON.stringify({ execute, arguments: args })}\n`)
    for (;;) {
      const { value, done } = await lines.next()
      if (done) throw new Error(`QEMU went away during ${execute}`)
      const answer = JSON.parse(value)
      if (answer.error) throw new Error(`QEMU: ${execute}: ${answer.error.desc}`)
      if (answer.return) return answer.return
    }
  }
  await send('qmp_capabilities')
  // The memory is a file of its own.
  const capabilities = [{ capability: 'x-ignore-shared', state: true }]
  await send('migrate-set-capabilities', { capabilities })
  return send
}

/** Makes the disk of the checkout: of a fixed size, sparse, the same device with and without content. */
function makeCheckout(file: string, folder?: string): void {
  execFileSync('truncate', ['-s', `${checkoutMiB}M`, file])
  if (folder === undefined) return
  const exclude = excluded.map((path) => `--exclude=./${path}`)
  const copy = `tar -C "$1" ${exclude.join(' ')} -cf - . | tar -C "$2" -xf -`
  execFileSync('mkdir', [folder])
  execFileSync('sh', ['-euc', copy, 'copy', repo, folder])
  execFileSync('mkfs.ext4', ['-q', '-F', '-m', '0', '-d', folder, file])
  rmSync(folder, { recursive: true })
}

const seen = (socket: Socket, word: string, ms: number) =>
  new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`the guest did not say "${word}" in ${ms} ms`)), ms)
    const lines = createInterface({ input: socket })
    lines.on('line', (line) => {
      if (line.trim() !== word) return
      clearTimeout(timer)
      lines.close()
      resolve()
    })
  })

/** The folder of the kept state; made by booting once where there is none for this image and machine. */
async function keptState(): Promise<string> {
  const what = [machine().join(' '), readFileSync(join(cache, 'made-by'), 'utf8')]
  const id = createHash('sha256')
    .update(what.join('\n'))
    .update(execFileSync('qemu-system-x86_64', ['--version']))
  const state = join(cache, `state.${id.digest('hex').slice(0, 12)}`)
  if (existsSync(state)) return state
  console.log('guest: booting once, to keep its state')
  const folder = mkdtempSync(join(cache, 'new.'))
  const root = `${folder}/disk`
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', join(cache, 'root.img'), '-F', 'raw', root])
  makeCheckout(`${folder}/checkout`)
  const disks = {
    ram: `${folder}/ram,share=on`,
    root: `format=qcow2,file=${root}`,
    checkout: `${folder}/checkout`,
  }
  const m = startMachine(folder, disks, [])
  try {
    await seen(await socketOf(m, 'tty'), 'ready', bootMs)
    const send = await control(m)
    await send('migrate', { uri: `exec:cat >${folder}/device` })
    for (let status = ''; status !== 'completed'; await sleep(200)) {
      status = (await send('query-migrate')).status ?? ''
      if (status === 'failed') throw new Error('QEMU could not save the state')
    }
    await endMachine(m)
    rmSync(`${folder}/checkout`)
    renameSync(folder, state)
  } finally {
    await endMachine(m)
    rmSync(folder, { recursive: true, force: true })
  }
  return state
}

/** Builds what is missing of the guest. */
export async function ensureGuest(): Promise<void> {
  execFileSync(join(here, 'image.sh'), [cache], { stdio: 'inherit' })
  await keptState()
}

/** Runs a shell command in the guest; resolves with its status, 124 when the time was over. Call ensureGuest first. */
export async function inGuest(command: string, run: GuestRun): Promise<number> {
  const state = await keptState()
  const folder = mkdtempSync('/var/tmp/gt-qemu.')
  const tidy = () => rmSync(folder, { recursive: true, force: true })
  process.once('exit', tidy)
  let m: Machine | undefined
  try {
    makeCheckout(`${folder}/checkout`, `${folder}/copy`)
    const disks = {
      ram: `${state}/ram,share=off`,
      // Written to a file that QEMU makes and forgets: the name is that of the state's own disk.
      root: `format=qcow2,snapshot=on,file=${state}/disk`,
      checkout: `${folder}/checkout`,
    }
    m = startMachine(folder, disks, ['-incoming', 'defer'])
    const tty = await socketOf(m, 'tty')
    const send = await control(m)
    await send('migrate-incoming', { uri: `exec:cat ${state}/device` })
    const ended = statusOf(tty, run)
    tty.write(`continue ${Math.floor(Date.now() / 1000)} ${command}\n`)
    return await ended
  } finally {
    if (m) await endMachine(m)
    tidy()
    process.off('exit', tidy)
  }
}

function statusOf(tty: Socket, { onLine, timeoutMs }: GuestRun): Promise<number> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(124), timeoutMs)
    const settle = (status: number) => {
      clearTimeout(timer)
      resolve(status)
    }
    const lines = createInterface({ input: tty })
    lines.on('line', (line) => {
      const status = STATUS.exec(line.trim())?.[1]
      if (status === undefined) onLine(line)
      else settle(Number(status))
    })
    lines.on('close', () => settle(125))
  })
}

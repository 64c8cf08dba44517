// SPDX-License-Identifier: Apache-2.0
/** ExecRequest, AttachRequest and PortForwardRequest as commands, or one fault that lists every bad field. */
import type { Attach, Exec, PortForward } from '../../../engine/index.ts'
import type { StreamFlags } from '../../../model/streaming.ts'
import type { RpcMessages } from '../gen/rpcs.ts'
import { Fields, requiredId } from './fields.ts'

const MAX_PORTS = 1000

export function decodeExec(request: RpcMessages['Exec']['request']): Exec {
  const f = new Fields()
  const args = execArgs(f, request.cmd)
  const streams = streamFlags(f, request)
  f.done('invalid exec')
  return { id: requiredId('container_id', request.containerId), args, streams }
}

export function decodeAttach(request: RpcMessages['Attach']['request']): Attach {
  const f = new Fields()
  const streams = streamFlags(f, request)
  f.done('invalid attach')
  return { id: requiredId('container_id', request.containerId), streams }
}

export function decodePortForward(request: RpcMessages['PortForward']['request']): PortForward {
  const f = new Fields()
  const ports = f
    .list('port', request.port, MAX_PORTS)
    .map((port, i) => Number(f.int(`port[${i}]`, port, { min: 1n, max: 65_535n })))
  f.done('invalid port-forward')
  return { id: requiredId('pod_sandbox_id', request.podSandboxId), ports }
}

/** The words of a command that is to run in a container. */
export function execArgs(f: Fields, cmd: readonly string[] | null | undefined): readonly string[] {
  const args = cmd ?? []
  if (args.length === 0) f.bad('cmd', 'is required')
  if (args.some((word) => word.includes('\0'))) f.bad('cmd', 'has a NUL in it')
  return args
}

function streamFlags(f: Fields, { stdin, stdout, stderr, tty }: StreamFlags): StreamFlags {
  if (!stdin && !stdout && !stderr) f.bad('stdin, stdout, stderr', 'at least one of them has to be set')
  if (tty && stderr) f.bad('stderr', 'a terminal has none: tty and stderr cannot both be set')
  return { stdin, stdout, stderr, tty }
}

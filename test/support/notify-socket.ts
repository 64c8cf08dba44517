// SPDX-License-Identifier: Apache-2.0
/** notify-socket: what systemd holds at the other end of sd_notify. Node has no datagram sockets of this kind; perl has. */
import { startChild } from './child.ts'

export interface NotifySocket extends AsyncDisposable {
  /** Every line that has come. */
  readonly said: readonly string[]
}

const RECEIVER = `
  use Socket;
  my $name = $ARGV[0] =~ s/^\\@/\\0/r;
  socket(my $s, AF_UNIX, SOCK_DGRAM, 0) or die;
  bind($s, pack("Sa*", AF_UNIX, $name)) or die;
  $| = 1;
  print "listening\\n";
  while (defined recv($s, my $text, 4096, 0)) { print "$text\\n" }`

/** Listens on a path, or on an abstract name that begins with @. */
export async function notifySocket(name: string): Promise<NotifySocket> {
  const child = await startChild('/usr/bin/perl', ['-e', RECEIVER, name], {
    env: { PATH: process.env.PATH },
  })
  while (!child.lines.includes('listening')) await new Promise((resolve) => setTimeout(resolve, 10))
  return {
    get said() {
      return child.lines.filter((line) => line !== 'listening')
    },
    async [Symbol.asyncDispose]() {
      await child.end()
    },
  }
}

// SPDX-License-Identifier: Apache-2.0
/**
 * Signals by name and number, as the kernel numbers them on amd64 and arm64 (signal(7)), and in the order of
 * the CRI's Signal enum, whose values are not signal numbers.
 */

const NUMBERS: Readonly<Record<string, number>> = {
  SIGABRT: 6,
  SIGALRM: 14,
  SIGBUS: 7,
  SIGCHLD: 17,
  SIGCLD: 17,
  SIGCONT: 18,
  SIGFPE: 8,
  SIGHUP: 1,
  SIGILL: 4,
  SIGINT: 2,
  SIGIO: 29,
  SIGIOT: 6,
  SIGKILL: 9,
  SIGPIPE: 13,
  SIGPOLL: 29,
  SIGPROF: 27,
  SIGPWR: 30,
  SIGQUIT: 3,
  SIGSEGV: 11,
  SIGSTKFLT: 16,
  SIGSTOP: 19,
  SIGSYS: 31,
  SIGTERM: 15,
  SIGTRAP: 5,
  SIGTSTP: 20,
  SIGTTIN: 21,
  SIGTTOU: 22,
  SIGURG: 23,
  SIGUSR1: 10,
  SIGUSR2: 12,
  SIGVTALRM: 26,
  SIGWINCH: 28,
  SIGXCPU: 24,
  SIGXFSZ: 25,
}

const RTMIN = 34
const RTMAX = 64

/** `SIGTERM`, `TERM`, `15`, `SIGRTMIN+3`, `RTMAX-1` → number; undefined for anything else. */
export function signalNumber(text: string): number | undefined {
  const upper = text.trim().toUpperCase()
  if (/^\d{1,2}$/.test(upper)) {
    const n = Number(upper)
    return n >= 1 && n <= RTMAX ? n : undefined
  }
  const name = upper.startsWith('SIG') ? upper : `SIG${upper}`
  const plain = NUMBERS[name]
  if (plain !== undefined) return plain
  const real = /^SIGRT(MIN|MAX)(?:([+-])(\d{1,2}))?$/.exec(name)
  if (!real) return undefined
  const offset = Number(real[3] ?? 0) * (real[2] === '-' ? -1 : 1)
  const n = (real[1] === 'MIN' ? RTMIN : RTMAX) + offset
  return n >= RTMIN && n <= RTMAX ? n : undefined
}

/** The CRI's enum: 1–34 are the names above in alphabetical order, 35–65 count from SIGRTMIN to SIGRTMAX. */
const CRI_NAMES = Object.keys(NUMBERS)
const CRI_RTMIN = 35
const CRI_RTMAX = 65

export function signalFromCri(value: number): number | undefined {
  if (value >= 1 && value <= CRI_NAMES.length) return NUMBERS[CRI_NAMES[value - 1] ?? '']
  return value >= CRI_RTMIN && value <= CRI_RTMAX ? value - CRI_RTMIN + RTMIN : undefined
}

/** The enum value for a signal number; 0 (runtime default) for none. */
export function signalToCri(number: number): number {
  if (number >= RTMIN && number <= RTMAX) return number - RTMIN + CRI_RTMIN
  const preferred = CRI_NAMES.findIndex(
    (name) => NUMBERS[name] === number && name !== 'SIGCLD' && name !== 'SIGIOT',
  )
  return preferred + 1
}

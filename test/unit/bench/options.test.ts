// SPDX-License-Identifier: Apache-2.0
/** The command line of the bench: what it accepts, and that all that is wrong is named at once. */
import { describe, expect, it } from 'vitest'
import { HELP, parseOptions, UsageError } from '../../../bench/options.ts'

function problemsOf(...argv: string[]): readonly string[] {
  try {
    parseOptions(argv)
  } catch (error) {
    if (error instanceof UsageError) return error.problems
    throw error
  }
  return []
}

function suitesOf(...argv: string[]): string[] {
  const options = parseOptions(argv)
  return options === 'help' ? [] : [...options.only]
}

describe('parseOptions', () => {
  it('runs everything but the pod network and the image pulls by default', () => {
    expect(suitesOf()).toEqual(['start', 'pods', 'wide', 'exec', 'held'])
    expect(suitesOf('--network', 'cni')).toContain('cni')
    expect(suitesOf('--only', 'exec, held')).toEqual(['exec', 'held'])
    expect(suitesOf('images', '--peer', 'containerd')).toEqual(['images'])
    expect(problemsOf('imagse')).toEqual([expect.stringContaining('imagse is not one of')])
  })

  it('lets a number override what --quick sets', () => {
    expect(parseOptions(['--quick', '--pods', '50'])).toMatchObject({ rounds: 1, pods: 50 })
  })

  it('names every problem at once', () => {
    const problems = problemsOf('--only', 'exec,nope', '--pods', '0', '--rounds', '1.5', '--start', 'x')
    expect(problems).toHaveLength(4)
    expect(problems.join(' ')).toMatch(/--start.*nope.*--rounds: 1\.5.*--pods: 0/s)
  })

  it.each([
    [['--peer', 'containerd', '--against', '/x']],
    [['--against-start', 'x']],
    [['--network', 'flannel']],
    [['--peer', 'docker']],
    [['--unknown']],
    [['stray']],
  ])('refuses %j', (argv) => {
    expect(problemsOf(...argv)).toHaveLength(1)
  })

  it('has a line of help for each option', () => {
    expect(parseOptions(['--help'])).toBe('help')
    for (const name of [
      'socket',
      'start',
      'against',
      'peer',
      'only',
      'settle',
      'json',
      'budget',
      'keep-logs',
    ]) {
      expect(HELP).toContain(`--${name}`)
    }
  })
})

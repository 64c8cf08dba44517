// SPDX-License-Identifier: Apache-2.0
/**
 * paint: colour for people: only on a terminal, and never where NO_COLOR is set or TERM is dumb. Everything
 * that a command prints is understood without it.
 */

export type Colour = 'green' | 'yellow' | 'red' | 'bold' | 'dim'
export type Paint = (colour: Colour, text: string) => string

const codes: Readonly<Record<Colour, number>> = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33 }

export function painter(
  stream: { readonly isTTY?: boolean },
  env: Readonly<Record<string, string | undefined>>,
): Paint {
  const plain = stream.isTTY !== true || (env.NO_COLOR ?? '') !== '' || env.TERM === 'dumb'
  return (colour, text) => (plain ? text : `\x1b[${codes[colour]}m${text}\x1b[0m`)
}

/** Paragraphs as lines of at most `width`, each behind `indent`. */
export function wrap(text: string, indent: string, width = 90): string[] {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(' ')) {
    if (line !== '' && indent.length + line.length + 1 + word.length > width) {
      lines.push(indent + line)
      line = ''
    }
    line += line === '' ? word : ` ${word}`
  }
  return [...lines, indent + line]
}

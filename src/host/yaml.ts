// SPDX-License-Identifier: Apache-2.0
/** YAML by a library that is loaded when the first file has to be read: few nodes have one. Reads no files. */
import { Fault } from '../base/fault.ts'

/**
 * The value of a YAML 1.1 text, in which, as in the files of the libraries that others use, 0644 is octal. Aliases
 * are followed 100 times at most. Throws `invalid` with `name` and the place.
 */
export async function parseYaml(name: string, text: string): Promise<unknown> {
  const { parseDocument } = await import('yaml')
  const document = parseDocument(text, { version: '1.1', prettyErrors: true })
  const [problem] = document.errors
  if (problem) throw new Fault('invalid', `${name}: ${problem.message.split('\n', 1)[0]}`)
  try {
    return document.toJS({ maxAliasCount: 100 })
  } catch (e) {
    throw new Fault('invalid', `${name}: ${e instanceof Error ? e.message : e}`, { cause: e })
  }
}

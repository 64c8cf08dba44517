// SPDX-License-Identifier: Apache-2.0
/**
 * gen-docs: writes the pages of docs/ that follow from the source, and the README's table of RPCs; with `--check`
 * it writes nothing and exits 1 when one of them is out of date. A page is the result of one pure function of its
 * present text. Needs the generated CRI code (scripts/gen.ts).
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { cliPage } from '../src/cli/page.ts'
import { configPage } from '../src/config/show.ts'
import { rpcs } from '../src/edge/cri/gen/rpcs.ts'
import { methods } from '../src/edge/cri/methods.ts'
import { fieldsPage } from './cri-fields.ts'
import { type RpcRow, statusTable, withSection } from './status-table.ts'

/** Every RPC, as the server would answer it. */
export function rpcRows(): RpcRow[] {
  return rpcs.map(({ service, name }) => {
    const method = methods[name]
    return method.is === 'later' ? { service, name, capability: method.capability } : { service, name }
  })
}

const pages: Readonly<Record<string, (now: string) => string>> = {
  'README.md': (now) => withSection(now, 'rpcs', statusTable(rpcRows())),
  'docs/cli.md': cliPage,
  'docs/config.md': configPage,
  'docs/cri-fields.md': fieldsPage,
}

function main(repo: string, check: boolean): void {
  for (const [path, page] of Object.entries(pages)) {
    const file = join(repo, path)
    const now = existsSync(file) ? readFileSync(file, 'utf8') : ''
    const wanted = page(now)
    if (now === wanted) continue
    if (check) {
      console.error(`${path} is out of date: run 'npm run docs' and commit it`)
      process.exitCode = 1
    } else {
      mkdirSync(dirname(file), { recursive: true })
      writeFileSync(file, wanted)
      console.log(`wrote ${path}`)
    }
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url))
  main(dirname(dirname(fileURLToPath(import.meta.url))), process.argv.includes('--check'))

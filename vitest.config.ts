// SPDX-License-Identifier: Apache-2.0
/**
 * What every vitest run shares. Which suites there are, in which order they run and how long they may take is
 * in scripts/suites.ts; suites that touch the host run one file at a time.
 */
import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts', 'conformance/**/*.test.ts'],
    pool: 'forks',
    reporters: ['default'],
  },
})

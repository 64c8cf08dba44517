// SPDX-License-Identifier: Apache-2.0
/** The version of gantry, as `package.json` has it (a check compares them). */
export const VERSION = '0.1.0'

// SPDX-License-Identifier: Apache-2.0
/** What the running kernel offers. */
#ifndef GANTRY_PROBE_H
#define GANTRY_PROBE_H

#include <stdbool.h>

/** Does overlayfs take `lowerdir+`? Older kernels take any option and refuse only the whole. */
bool probe_lowerdir_plus(void);

#endif

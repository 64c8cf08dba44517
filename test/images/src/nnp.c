// SPDX-License-Identifier: Apache-2.0
/* nnp: says with which effective uid it runs. The image holds it setuid root: no_new_privs shows in the
 * answer. */
#include <stdio.h>
#include <unistd.h>

int main(void) {
    printf("Effective uid: %d\n", (int)geteuid());
    return 0;
}

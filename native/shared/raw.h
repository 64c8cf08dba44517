// SPDX-License-Identifier: Apache-2.0
// For programs without a C library: the entry point and system calls of x86-64 and arm64. A program includes
// this once and defines `int raw_main(long argc, char **argv)`. Other machines: build the program with a C
// library (RAW_LIBC), which gives the same names.
#ifndef GANTRY_RAW_H
#define GANTRY_RAW_H

#include <asm/unistd.h>

int raw_main(long argc, char **argv);

#ifdef RAW_LIBC

#include <unistd.h>
#define raw_call(n, a, b, c, d) syscall(n, a, b, c, d)
int main(int argc, char **argv) { return raw_main(argc, argv); }

#else

static inline long raw_call(long n, long a, long b, long c, long d) {
#if defined(__x86_64__)
    long r;
    register long r10 __asm__("r10") = d;
    __asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
    return r;
#elif defined(__aarch64__)
    register long x8 __asm__("x8") = n;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
    return x0;
#else
#error "no system calls for this machine: build with -DRAW_LIBC"
#endif
}

/** Called with the initial stack: argc, then argv. */
__attribute__((noreturn, used)) static void raw_start(long *stack) {
    int code = raw_main(stack[0], (char **)(stack + 1));
    for (;;) raw_call(__NR_exit_group, code, 0, 0, 0);
}

#if defined(__x86_64__)
__asm__(".globl _start\n_start:\n xor %ebp, %ebp\n mov %rsp, %rdi\n and $-16, %rsp\n call raw_start\n");
#elif defined(__aarch64__)
__asm__(".globl _start\n_start:\n mov x29, #0\n mov x0, sp\n bl raw_start\n");
#endif

#endif

#define RAW_SIG(n) (1UL << ((n)-1))

/** The calls of these programs that take pointers. */
static inline void raw_block_all_signals(void) {
    unsigned long all = ~0UL;
    raw_call(__NR_rt_sigprocmask, 0 /* SIG_BLOCK */, (long)&all, 0, sizeof all);
}

/** Waits for one of `set`; its number, or a negative error. */
static inline long raw_wait_signal(unsigned long set) {
    return raw_call(__NR_rt_sigtimedwait, (long)&set, 0, 0, sizeof set);
}

#endif

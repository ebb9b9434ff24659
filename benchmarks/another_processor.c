/* Lets a program believe that it runs on another x86-64 processor: see benchmarks/portable.py, which preloads it.

   Linux can make the instruction CPUID fault on many Intel processors and virtual machines (arch_prctl,
   ARCH_SET_CPUID). The handler executes it, changes the answer as POSE asks, and goes on behind the instruction. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

enum { ARCH_SET_CPUID = 0x1012 };

static int avx2_only, amd, hidden_caches;
static uint32_t level1, level2, level3; /* caches in KiB; 0: the real ones */

static void allow(int allowed) {
  static const char refused[] = "another_processor: this system does not let CPUID be intercepted\n";
  if (!syscall(SYS_arch_prctl, ARCH_SET_CPUID, allowed)) return;
  (void)!write(2, refused, sizeof refused - 1);
  _exit(1);
}

/* Intel's leaf 4 and AMD's leaf 0x8000001D: first-level data, first-level instructions, second and third level. */
static void describe_cache(uint32_t number, uint32_t r[4]) {
  const uint32_t type[] = {1, 2, 3, 3}, level[] = {1, 1, 2, 3}, kib[] = {level1, 32, level2, level3};
  const uint32_t ways[] = {8, 8, 8, 16};
  memset(r, 0, 4 * sizeof *r);
  if (number > 3 || !kib[number]) return;
  r[0] = type[number] | level[number] << 5 | 1u << 8;
  r[1] = 63u | (ways[number] - 1) << 22;
  r[2] = kib[number] * 1024 / (ways[number] * 64) - 1;
}

static void pose(uint32_t leaf, uint32_t number, uint32_t r[4]) {
  if (avx2_only && leaf == 7) { /* no AVX-512, no AMX, no bfloat16 */
    if (number) memset(r, 0, 4 * sizeof *r);
    r[1] &= ~(1u << 16 | 1u << 17 | 1u << 21 | 1u << 26 | 1u << 27 | 1u << 28 | 1u << 30 | 1u << 31);
    r[2] &= ~(1u << 1 | 1u << 6 | 1u << 8 | 1u << 9 | 1u << 10 | 1u << 11 | 1u << 12 | 1u << 14);
    r[3] &= ~(1u << 2 | 1u << 3 | 1u << 8 | 1u << 22 | 1u << 23 | 1u << 24 | 1u << 25);
  }
  if (avx2_only && leaf == 0xd && number == 0) r[0] &= ~0x600e0u;
  if (amd) {
    if (leaf == 0 || leaf == 0x80000000) { /* AuthenticAMD */
      r[0] = leaf ? 0x8000001e : 0xd, r[1] = 0x68747541, r[3] = 0x69746e65, r[2] = 0x444d4163;
    }
    if (leaf == 1) r[0] = 0x00a20f10; /* Zen 3 */
    if (leaf == 2 || leaf == 4) memset(r, 0, 4 * sizeof *r);
    if (leaf == 0x80000001) r[2] |= 1u << 22;
    if (leaf == 0x80000005) r[2] = level1 << 24 | 8u << 16 | 0x140, r[3] = 32u << 24 | 8u << 16 | 0x140;
    if (leaf == 0x80000006) r[2] = level2 << 16 | 6u << 12 | 0x140, r[3] = level3 / 512 << 18 | 9u << 12 | 0x140;
    if (leaf == 0x8000001d) describe_cache(number, r);
  } else if (leaf == 4 && level2) {
    describe_cache(number, r);
  }
  if (hidden_caches && (leaf == 2 || leaf == 4)) memset(r, 0, 4 * sizeof *r);
}

static void handle(int signal_number, siginfo_t *information, void *context) {
  greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
  const unsigned char *at = (const unsigned char *)registers[REG_RIP];
  if (at[0] != 0x0f || at[1] != 0xa2) { /* no CPUID: a real fault, which comes again without this handler */
    signal(signal_number, SIG_DFL);
    return;
  }
  uint32_t leaf = (uint32_t)registers[REG_RAX], number = (uint32_t)registers[REG_RCX], r[4];
  allow(1);
  __asm__ volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(leaf), "c"(number));
  allow(0);
  pose(leaf, number, r);
  registers[REG_RAX] = r[0], registers[REG_RBX] = r[1], registers[REG_RCX] = r[2], registers[REG_RDX] = r[3];
  registers[REG_RIP] += 2;
}

__attribute__((constructor)) static void start(void) {
  const char *asked = getenv("POSE"), *caches = getenv("CACHES");
  if (!asked) return;
  avx2_only = strstr(asked, "avx2") != NULL, amd = strstr(asked, "amd") != NULL;
  hidden_caches = strstr(asked, "hidden") != NULL;
  if (caches) { /* such as 32,512,32768 */
    char *rest;
    level1 = strtoul(caches, &rest, 10), level2 = strtoul(rest + 1, &rest, 10), level3 = strtoul(rest + 1, &rest, 10);
  }
  struct sigaction action = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_NODEFER};
  sigaction(SIGSEGV, &action, NULL);
  allow(0);
}

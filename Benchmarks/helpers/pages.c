// SPDX-License-Identifier: Apache-2.0
// Has the machine own its free pages: what a hypervisor takes back of them while nobody uses them
// is touched, and free again when this ends.
//
//   pages MEBIBYTES
#include <stdlib.h>
#include <sys/mman.h>

int main(int argc, char **argv) {
  if (argc != 2) return 1;
  size_t size = (size_t)atol(argv[1]) << 20;
  char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return 1;
  for (size_t offset = 0; offset < size; offset += 4096) memory[offset] = 1;
}

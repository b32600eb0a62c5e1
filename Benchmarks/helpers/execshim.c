// SPDX-License-Identifier: Apache-2.0
// The least a shim can cost: a static C program that becomes the program its arguments name.
#include <unistd.h>

int main(int argc, char **argv) {
  if (argc > 1) execv(argv[1], argv + 1);
  return 127;
}

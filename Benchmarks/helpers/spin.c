// SPDX-License-Identifier: Apache-2.0
// A neighbour that takes whatever CPU it is given.
//
//   spin THREADS
#include <pthread.h>
#include <stdlib.h>

static void *spin(void *unused) {
  volatile unsigned count = 0;
  (void)unused;
  for (;;) count++;
  return NULL;
}

int main(int argc, char **argv) {
  pthread_t thread;
  for (int i = argc == 2 ? atoi(argv[1]) : 1; i > 1; i--)
    if (pthread_create(&thread, NULL, spin, NULL) != 0) return 1;
  spin(NULL);
}

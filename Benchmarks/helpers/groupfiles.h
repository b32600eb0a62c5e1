// SPDX-License-Identifier: Apache-2.0
//
// What a controller reads: the time, and the files of a group.
#ifndef GROUPFILES_H
#define GROUPFILES_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

// Microseconds.
static inline int64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}

static inline const char *text(int file) {
  static char found[4096];
  ssize_t size = pread(file, found, sizeof found - 1, 0);
  if (size <= 0) exit(0);  // The group is gone.
  found[size] = 0;
  return found;
}

// The number after a key, or the first number without one.
static inline int64_t number(int file, const char *key) {
  const char *found = text(file);
  if (key) found = strstr(found, key);
  return found ? atoll(found + (key ? strlen(key) : 0)) : 0;
}

#endif

// SPDX-License-Identifier: Apache-2.0
// What lives on the page cache, or beside it.
//
//   cache DIRECTORY serve MIB SECONDS
//   cache DIRECTORY scan MIB SECONDS
//   cache DIRECTORY store MIB SECONDS
//
// serve reads 64 KiB anywhere in the file `data` of MIB mebibytes, as a file server does; scan
// reads it from its beginning to its end again and again. store fills MIB mebibytes of values of
// 1 KiB, then gets nine of ten and sets the others, which it appends to a log, as Redis does.
// Answers with how often it did so, and the bytes that came from the disk.
#include <string.h>
#include <sys/mman.h>

#include "start.h"

static const size_t MEBIBYTE = 1 << 20;
enum { BLOCK = 1 << 16, VALUE = 1 << 10 };
static char block[BLOCK];

static uint64_t next_random(void) {
  static uint64_t state = 88172645463325252ULL;
  state ^= state << 13;
  state ^= state >> 7;
  return state ^= state << 17;
}

static int64_t fetched(void) {
  char line[128];
  long long bytes = 0;
  FILE *file = fopen("/proc/self/io", "r");
  while (file && fgets(line, sizeof line, file)) sscanf(line, "read_bytes: %lld", &bytes);
  if (file) fclose(file);
  return bytes;
}

int main(int argc, char **argv) {
  if (argc != 5 || chdir(argv[1]) != 0) return 1;
  int is_store = strcmp(argv[2], "store") == 0, is_scan = strcmp(argv[2], "scan") == 0;
  int64_t size = atol(argv[3]) * MEBIBYTE, count = 0;
  int64_t begin = wait_for_start(), end = begin + atol(argv[4]) * 1000000000LL;
  int file = is_store ? open("log", O_WRONLY | O_CREAT | O_APPEND, 0600) : open("data", O_RDONLY);
  int64_t before = fetched(), synced = begin, logged = 0;
  sleep_until(begin);
  if (file < 0) return 1;
  char *values = MAP_FAILED;
  if (is_store) {
    values = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (values == MAP_FAILED) return 1;
    for (int64_t at = 0; at < size; at += VALUE) memset(values + at, 1, VALUE);
  }
  int64_t time;
  while ((time = now(CLOCK_MONOTONIC)) < end) {
    if (!is_store) {
      uint64_t place = is_scan ? (uint64_t)count : next_random();
      if (pread(file, block, BLOCK, place % (size / BLOCK) * BLOCK) != BLOCK) return 1;
    } else {
      char *value = values + next_random() % (size / VALUE) * VALUE;
      if (next_random() % 10 != 0) {
        memcpy(block, value, VALUE);
      } else {
        memset(value, (int)count, VALUE);
        if (write(file, value, VALUE) != VALUE) return 1;
        // A log that has become long is written anew.
        if (++logged == 64 << 10 && (logged = 0, ftruncate(file, 0) != 0)) return 1;
      }
      if (time - synced >= 1000000000) {
        synced = time;
        if (fdatasync(file) != 0) return 1;
      }
    }
    count++;
  }
  int64_t numbers[] = {count, fetched() - before};
  answer(numbers, 2);
}

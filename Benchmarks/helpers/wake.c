// SPDX-License-Identifier: Apache-2.0
// How late a thread that sleeps is woken up: sleeps, notes by how much it overslept, works, again.
//
//   wake DIRECTORY SLEEP_NS WORK_NS DURATION_NS
//
// Answers with every sample in nanoseconds: from the moment asked for to the return of
// clock_nanosleep(2), the timer slack of an ordinary process included. Work is CPU time.
#include <string.h>

#include "start.h"

int main(int argc, char **argv) {
  if (argc != 5 || chdir(argv[1]) != 0) return 1;
  int64_t sleep = atoll(argv[2]), work = atoll(argv[3]), duration = atoll(argv[4]);
  size_t room = (size_t)(duration / (sleep + work)) + 1, count = 0;
  int64_t *late = malloc(room * sizeof *late);
  if (!late) return 1;
  // No page fault while it is measured.
  memset(late, 0xff, room * sizeof *late);
  int64_t start = wait_for_start();
  sleep_until(start);
  while (count < room && now(CLOCK_MONOTONIC) < start + duration) {
    int64_t moment = now(CLOCK_MONOTONIC) + sleep;
    sleep_until(moment);
    late[count++] = now(CLOCK_MONOTONIC) - moment;
    use_cpu(work);
  }
  answer(late, count);
}

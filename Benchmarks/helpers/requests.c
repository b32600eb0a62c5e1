// SPDX-License-Identifier: Apache-2.0
// A service with one thread and whoever asks it, without waiting for its answers.
//
//   requests DIRECTORY serve WORK_NS     in a container: a byte from the FIFO `go` is a request,
//                                        which uses WORK_NS of CPU and is answered by `done`
//   requests DIRECTORY ask SCHEDULE      sends one at each moment (64-bit numbers, nanoseconds
//                                        from the start) in the file SCHEDULE
//
// `ask` prints for each request the nanoseconds from the moment when it was to be sent to its
// answer, so that waiting behind others counts.
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "start.h"

static int go, done;
static int64_t *moments, start;
static size_t count;

static int serve(int64_t work) {
  char byte;
  while (read(go, &byte, 1) == 1) {
    use_cpu_quietly(work);
    if (write(done, &byte, 1) != 1) return 1;
  }
  return 1;
}

static void *send(void *unused) {
  (void)unused;
  for (size_t i = 0; i < count; i++) {
    sleep_until(start + moments[i]);
    if (write(go, "!", 1) != 1) exit(1);
  }
  return NULL;
}

int main(int argc, char **argv) {
  if (argc != 4 || chdir(argv[1]) != 0) return 1;
  // Both ends at once: an end that nobody holds would be the end of the conversation.
  go = open("go", O_RDWR), done = open("done", O_RDWR);
  if (go < 0 || done < 0) {
    perror(argv[1]);
    return 1;
  }
  if (strcmp(argv[2], "serve") == 0) return serve(atoll(argv[3]));

  prctl(PR_SET_PDEATHSIG, SIGKILL);
  prctl(PR_SET_TIMERSLACK, 1);
  struct stat status;
  int file = open(argv[3], O_RDONLY);
  if (file < 0 || fstat(file, &status) != 0) return 1;
  size_t size = (size_t)status.st_size;
  count = size / sizeof *moments, moments = malloc(size + 1);
  int64_t *answers = malloc(size + 1);
  if (!moments || !answers || read(file, moments, size) != status.st_size) return 1;
  start = now(CLOCK_MONOTONIC) + 10000000;
  // Answers that never come are an end, too.
  if (count) alarm((unsigned)(moments[count - 1] / 1000000000) + 10);
  pthread_t sender;
  if (pthread_create(&sender, NULL, send, NULL) != 0) return 1;
  for (size_t i = 0; i < count;) {
    char bytes[64];
    ssize_t got = read(done, bytes, sizeof bytes);
    int64_t moment = now(CLOCK_MONOTONIC);
    for (; got > 0; got--, i++) answers[i] = moment - start - moments[i];
  }
  alarm(0);
  pthread_join(sender, NULL);
  for (size_t i = 0; i < count; i++) printf("%lld\n", (long long)answers[i]);
}

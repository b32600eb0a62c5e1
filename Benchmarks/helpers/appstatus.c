// SPDX-License-Identifier: Apache-2.0
// Asks the broker of an application how it is, over and over: docs/protocol.md.
//
//   appstatus SOCKET COUNT GAP_US
//
// Prints the nanoseconds from each question to its answer, a line each, and last "members N". It
// runs before ordinary processes, so that what is measured is the broker.
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "start.h"

int main(int argc, char **argv) {
  if (argc != 4) return 1;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  struct sched_param priority = {.sched_priority = 1};
  sched_setscheduler(0, SCHED_FIFO, &priority);
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(argv[1]) >= sizeof address.sun_path) return 1;
  strcpy(address.sun_path, argv[1]);
  int broker = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (broker < 0 || connect(broker, (struct sockaddr *)&address, sizeof address) != 0) {
    perror(argv[1]);
    return 1;
  }
  int64_t frame[12] = {0}, members = 0;
  for (int64_t i = 1; i <= atoll(argv[2]); i++) {
    memset(frame, 0, sizeof frame);
    // Magic, version 1 as the sender's and as the oldest, status (5), CPU (1); the number at 24.
    memcpy(frame, "ESAP\1\1\5\1", 8);
    frame[3] = i;
    int64_t asked = now(CLOCK_MONOTONIC);
    if (send(broker, frame, sizeof frame, MSG_NOSIGNAL) != sizeof frame ||
        recv(broker, frame, sizeof frame, 0) != sizeof frame) {
      perror("the broker");
      return 1;
    }
    int64_t answered = now(CLOCK_MONOTONIC);
    if (memcmp(frame, "ESAP", 4) != 0 || ((char *)frame)[6] != 20) {
      fprintf(stderr, "the broker says %d\n", ((char *)frame)[6]);
      return 1;
    }
    members = frame[8];
    printf("%lld\n", (long long)(answered - asked));
    usleep((useconds_t)atoi(argv[3]));
  }
  printf("members %lld\n", (long long)members);
}

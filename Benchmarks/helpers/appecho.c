// SPDX-License-Identifier: Apache-2.0
// Answers the frames of appstatus.c and does nothing else: what a question to a broker takes where
// there is no broker, which is two processes that wake each other.
//
//   appecho SOCKET
//
// Prints "ready" when it listens, and is ended from outside.
#define _GNU_SOURCE
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "start.h"

int main(int argc, char **argv) {
  if (argc != 2) return 1;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(argv[1]) >= sizeof address.sun_path) return 1;
  strcpy(address.sun_path, argv[1]);
  int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) != 0 ||
      listen(listener, 1) != 0) {
    perror(argv[1]);
    return 1;
  }
  puts("ready");
  fflush(stdout);
  // One that waits for a connection as supervisors do: on an epoll.
  int connection = accept(listener, NULL, NULL), poller = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event event = {.events = EPOLLIN};
  if (connection < 0 || epoll_ctl(poller, EPOLL_CTL_ADD, connection, &event) != 0) {
    perror(argv[1]);
    return 1;
  }
  for (;;) {
    char frame[96];
    if (epoll_wait(poller, &event, 1, -1) != 1) continue;
    if (recv(connection, frame, sizeof frame, MSG_DONTWAIT) <= 0) return 0;
    frame[6] = 20;  // Figures, docs/protocol.md.
    send(connection, frame, sizeof frame, MSG_NOSIGNAL);
  }
}

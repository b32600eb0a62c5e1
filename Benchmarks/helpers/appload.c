// SPDX-License-Identifier: Apache-2.0
// Asks a web service at moments that were fixed before, whatever becomes of what was asked earlier.
//
//   appload NETNS up                            raises the loopback of a network namespace
//   appload NETNS PORT SCHEDULE ANSWERS SECONDS
//
// SCHEDULE has pairs of 64-bit numbers: nanoseconds from the start, and the kind of request (0: a
// page, else an asset). ANSWERS gets pairs for them: nanoseconds from the moment when it was to be
// sent to the end of its answer, so that waiting behind others counts, and the HTTP status, 0 for
// none. It ends SECONDS after the last was sent at the latest. Up to 64 connections, kept alive;
// a request for which none is free waits. Prints the start, on CLOCK_MONOTONIC in nanoseconds.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>

#include "start.h"

#define CONNECTIONS 64

struct request {
  int64_t moment, kind;
};

struct answer {
  int64_t took, status;
};

struct connection {
  int socket;
  int64_t request;  // -1 where it is free
  size_t got, wanted;
  char text[65536];
};

static struct connection connections[CONNECTIONS];
static struct request *requests;
static struct answer *answers;
static int64_t start, count, sent, open_requests, done;
static int epoll, port;

static void die(const char *what) {
  perror(what);
  exit(1);
}

static void forget(struct connection *it) {
  if (it->socket >= 0) close(it->socket);
  it->socket = -1;
}

static void finish(struct connection *it, int64_t status) {
  answers[it->request] =
      (struct answer){now(CLOCK_MONOTONIC) - start - requests[it->request].moment, status};
  it->request = -1, it->got = it->wanted = 0;
  open_requests--, done++;
}

static int dial(struct connection *it) {
  struct sockaddr_in address = {
      .sin_family = AF_INET, .sin_port = htons((uint16_t)port),
      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  it->socket = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  // On loopback it is there, or refused, at once.
  if (it->socket < 0 ||
      connect(it->socket, (struct sockaddr *)&address, sizeof address) != 0) {
    forget(it);
    return -1;
  }
  int one = 1;
  setsockopt(it->socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = it};
  return epoll_ctl(epoll, EPOLL_CTL_ADD, it->socket, &event);
}

static void ask(struct connection *it, int64_t number) {
  char text[256];
  int size = snprintf(
      text, sizeof text, "GET /%s/%lld HTTP/1.1\r\nHost: app\r\nAccept-Encoding: gzip\r\n\r\n",
      requests[number].kind ? "asset" : "page", (long long)(number * 2654435761LL % 997));
  it->request = number, it->got = it->wanted = 0;
  open_requests++;
  // A server may have closed what was kept alive: once more, then it is a failure.
  for (int attempt = 0; attempt < 2; attempt++) {
    if (it->socket < 0 && dial(it) != 0) break;
    if (send(it->socket, text, (size_t)size, MSG_NOSIGNAL) == size) return;
    forget(it);
  }
  finish(it, 0);
}

#define CHUNKED ((size_t)-2)

// How long the whole answer is; 0 as long as its head is not there.
static size_t length(const struct connection *it) {
  const char *end = memmem(it->text, it->got, "\r\n\r\n", 4);
  if (!end) return 0;
  const char *found = strcasestr(it->text, "\r\nContent-Length:");
  if (found && found < end) return (size_t)(end - it->text) + 4 + (size_t)atoll(found + 17);
  found = strcasestr(it->text, "\r\nTransfer-Encoding: chunked");
  return found && found <= end ? CHUNKED : (size_t)-1;
}

static int is_whole(const struct connection *it) {
  if (it->wanted != CHUNKED) return it->wanted && it->got >= it->wanted;
  return it->got >= 7 && memcmp(it->text + it->got - 7, "\r\n0\r\n\r\n", 7) == 0;
}

static void hear(struct connection *it) {
  // What is too long to be kept is counted only; its head is kept.
  char rest[65536];
  size_t room = sizeof it->text - 1 - it->got;
  int is_kept = (it->wanted == 0 || it->wanted == CHUNKED) && room > 0;
  ssize_t size = recv(it->socket, is_kept ? it->text + it->got : rest,
                      is_kept ? room : sizeof rest, MSG_DONTWAIT);
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (size <= 0) {
    forget(it);
    if (it->request >= 0) finish(it, 0);
    return;
  }
  if (it->request < 0) return forget(it);
  it->got += (size_t)size;
  if (is_kept) it->text[it->got] = 0;
  if (!it->wanted) it->wanted = length(it);
  if (it->wanted == (size_t)-1) {
    // No way to tell where it ends.
    forget(it);
    return finish(it, 0);
  }
  if (is_whole(it))
    finish(it, strncmp(it->text, "HTTP/1.", 7) == 0 ? atoll(it->text + 9) : 0);
}

static void up(void) {
  struct ifreq request = {.ifr_name = "lo"};
  int any = socket(AF_INET, SOCK_DGRAM, 0);
  if (any < 0 || ioctl(any, SIOCGIFFLAGS, &request) != 0) die("lo");
  request.ifr_flags |= IFF_UP;
  if (ioctl(any, SIOCSIFFLAGS, &request) != 0) die("lo");
}

int main(int argc, char **argv) {
  if (argc != 3 && argc != 6) return 1;
  int space = open(argv[1], O_RDONLY | O_CLOEXEC);
  if (space < 0 || setns(space, CLONE_NEWNET) != 0) die(argv[1]);
  if (argc == 3) {
    up();
    return 0;
  }
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  prctl(PR_SET_TIMERSLACK, 1);
  port = atoi(argv[2]);
  struct stat status;
  int file = open(argv[3], O_RDONLY);
  if (file < 0 || fstat(file, &status) != 0) die(argv[3]);
  count = status.st_size / (int64_t)sizeof *requests;
  requests = malloc((size_t)status.st_size + 1);
  answers = calloc((size_t)count + 1, sizeof *answers);
  if (!requests || !answers || read(file, requests, (size_t)status.st_size) != status.st_size)
    die(argv[3]);
  epoll = epoll_create1(EPOLL_CLOEXEC);
  int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
  if (epoll < 0 || timer < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &event) != 0) die("epoll");
  for (int i = 0; i < CONNECTIONS; i++) connections[i].socket = -1, connections[i].request = -1;

  start = now(CLOCK_MONOTONIC) + 20000000;
  printf("%lld\n", (long long)start);
  fflush(stdout);
  int64_t end = start + (count ? requests[count - 1].moment : 0) + atoll(argv[5]) * 1000000000;
  while (done < count) {
    int64_t moment = now(CLOCK_MONOTONIC);
    if (moment >= end) break;
    for (int i = 0; i < CONNECTIONS && sent < count && start + requests[sent].moment <= moment; i++)
      if (connections[i].request < 0) ask(&connections[i], sent++);
    // While all connections are busy, an answer is what comes next.
    int64_t next = end;
    if (sent < count && open_requests < CONNECTIONS) next = start + requests[sent].moment;
    if (next > end) next = end;
    struct itimerspec until = {.it_value = {next / 1000000000, next % 1000000000}};
    timerfd_settime(timer, TFD_TIMER_ABSTIME, &until, NULL);
    struct epoll_event events[CONNECTIONS + 1];
    int found = epoll_wait(epoll, events, CONNECTIONS + 1, -1);
    for (int i = 0; i < found; i++) {
      if (events[i].data.ptr) {
        hear(events[i].data.ptr);
      } else {
        uint64_t fired;
        if (read(timer, &fired, sizeof fired) < 0 && errno != EAGAIN) die("timer");
      }
    }
  }
  // What was not answered has taken at least so long.
  int64_t moment = now(CLOCK_MONOTONIC);
  for (int i = 0; i < CONNECTIONS; i++)
    if (connections[i].request >= 0) finish(&connections[i], 0);
  for (; sent < count; sent++)
    answers[sent] = (struct answer){moment - start - requests[sent].moment, 0};
  int out = open(argv[4], O_WRONLY | O_CREAT | O_TRUNC, 0600);
  size_t size = (size_t)count * sizeof *answers;
  if (out < 0 || write(out, answers, size) != (ssize_t)size) die(argv[4]);
  return 0;
}

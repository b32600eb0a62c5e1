// SPDX-License-Identifier: Apache-2.0
// One of the laws of laws.h at work on a container's quota, for a comparison at the same cost.
//
//   peers LAW BASE_US CEILING_US QUOTA_FILE STAT_FILE USAGE_FILE
//   peers LAW BASE_US CEILING_US           reads what it sees from standard input, and says what
//                                          it would set: "quota use throttled silence node" a line
//
// LAW: poll (every 100 ms), koordinator (every second), escra (at the end of each period). The
// period is 100 ms. Escra's reports come from its kernel's period timer; here the first period
// that ends says when periods end, and a look a millisecond after each end is the report.
// SIGUSR1 sets the base, and forgets: as if the container had just begun. SIGUSR2 sets the most
// that Koordinator gives, as if its seven seconds to there were over.
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "laws.h"
#include "groupfiles.h"

static int quota_file, stat_file, usage_file, node_file;
static volatile sig_atomic_t is_reset;

static void reset(int number) {
  is_reset = number;
}

static int64_t use(void) {
  int64_t microseconds = number(usage_file, "usage_usec ");
  return microseconds ? microseconds : number(usage_file, NULL) / 1000;
}

static void write_quota(const char *path, int64_t quota) {
  char line[64];
  // cgroup v2 has the period in the same file, and takes a quota alone.
  int size = snprintf(line, sizeof line, "%lld", (long long)quota);
  if (pwrite(quota_file, line, (size_t)size, 0) != size) perror(path);
}

// The busy share of the node over the last five seconds; to be called once a second.
static double node(void) {
  static int64_t idles[5], moments[5];
  static int turn;
  long long user, nice, system, idle, wait;
  const char *line = text(node_file);
  if (sscanf(line, "cpu %lld %lld %lld %lld %lld", &user, &nice, &system, &idle, &wait) != 5)
    exit(1);
  int64_t before = idles[turn], then = moments[turn], moment = now();
  double ticks = (double)sysconf(_SC_CLK_TCK), cpus = (double)sysconf(_SC_NPROCESSORS_ONLN);
  idles[turn] = idle + wait, moments[turn] = moment;
  turn = (turn + 1) % 5;
  if (!then) return 0;
  double seconds = (double)(moment - then) / 1e6;
  return 1 - (double)(idle + wait - before) / ticks / seconds / cpus;
}

// Waits until a period ends, looking every millisecond, and says when.
static int64_t period_end(void) {
  int64_t before = number(stat_file, "nr_periods ");
  while (number(stat_file, "nr_periods ") == before && !is_reset) usleep(1000);
  return now();
}

static int rehearse(struct law *law, int64_t (*decide)(struct law *, struct seen)) {
  struct seen seen;
  long long quota, use, throttled, silence;
  while (scanf("%lld %lld %lld %lld %lf", &quota, &use, &throttled, &silence, &seen.node) == 5) {
    seen.quota = quota, seen.use = use, seen.throttled = throttled, seen.silence = silence;
    printf("%lld\n", (long long)decide(law, seen));
  }
  return 0;
}

int main(int argc, char **argv) {
  if (argc != 4 && argc != 7) return 1;
  int is_escra = strcmp(argv[1], "escra") == 0;
  int is_koordinator = strcmp(argv[1], "koordinator") == 0;
  int64_t (*decide)(struct law *, struct seen) =
      is_escra ? escra_law : is_koordinator ? koordinator_law : poll_law;
  struct law law = {.base = atoll(argv[2]), .ceiling = atoll(argv[3])}, fresh = law;
  if (argc == 4) return rehearse(&law, decide);

  prctl(PR_SET_PDEATHSIG, SIGKILL);
  prctl(PR_SET_TIMERSLACK, 1);
  signal(SIGUSR1, reset), signal(SIGUSR2, reset);
  quota_file = open(argv[4], O_RDWR), stat_file = open(argv[5], O_RDONLY);
  usage_file = open(argv[6], O_RDONLY), node_file = open("/proc/stat", O_RDONLY);
  if (quota_file < 0 || stat_file < 0 || usage_file < 0 || node_file < 0) {
    perror(argv[4]);
    return 1;
  }
  int64_t next = is_escra ? period_end() + 1000 : now();
  int64_t step = is_koordinator ? 10 * PERIOD : PERIOD;
  int64_t used = use(), throttled = number(stat_file, "nr_throttled ");
  int64_t periods = number(stat_file, "nr_periods "), reported = now(), looked = reported;
  for (;;) {
    next += step;
    struct timespec until = {next / 1000000, next % 1000000 * 1000};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) != 0 && !is_reset) {
    }
    int64_t used_now = use(), moment = now(), quota = number(quota_file, NULL), wanted = quota;
    int64_t throttled_now = number(stat_file, "nr_throttled ");
    int64_t periods_now = number(stat_file, "nr_periods ");
    if (is_reset) {
      law = fresh, wanted = is_reset == SIGUSR1 ? law.base : koordinator_most(&law), next -= step;
      is_reset = 0;
    } else if (!is_escra || periods_now != periods) {
      struct seen seen = {
          quota, used_now - used, throttled_now - throttled, moment - reported,
          is_koordinator ? node() : 0};
      wanted = decide(&law, seen);
      reported = moment;
    } else if (moment - looked >= 2000000) {
      wanted = escra_idle(&law, quota, moment - reported);
      looked = moment;
    }
    used = used_now, throttled = throttled_now, periods = periods_now;
    if (wanted != quota) write_quota(argv[4], wanted);
  }
}

// SPDX-License-Identifier: Apache-2.0
// One of the rules of applaws.h at work on the containers of an application.
//
//   appcontrol RULE CPU_US MEMORY CPU_DIR,USAGE_DIR,MEMORY_DIR...
//
// RULE: koordinator (every second; CPU alone), autopilot (every second), escra (every 100 ms, the
// time of its kernel's reports). CPU_US, a period of 100 ms, and MEMORY, in bytes, are the
// application's limits, that the sums of what is set do not exceed but for what Escra's rule
// overruns. What is found at the start is what was declared. cgroup v1.
//
// A line on standard input: "go" begins, or goes on with what it knew; "rest" pauses, as if no time
// passed. Says "overrun CPU_US" at each rest: the most that was granted above the limit.
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "applaws.h"
#include "groupfiles.h"

#define SLICE 10000  // microseconds: Escra's own of 30 ms, for four on two CPUs

struct files {
  int quota, stat, usage, limit, memory, oom, oom_event;
  int64_t used, throttled, periods, reported;
};

static struct pool pool;
static struct files files[MEMBERS];
static struct autopilot autopilots[MEMBERS];
static int node_file;
static int64_t most_overrun;

static int set(int file, int64_t value) {
  char line[64];
  int size = snprintf(line, sizeof line, "%lld", (long long)value);
  return pwrite(file, line, (size_t)size, 0) == size ? 0 : -1;
}

static int at(const char *directory, const char *name, int flags) {
  char path[4096];
  snprintf(path, sizeof path, "%s/%s", directory, name);
  int file = open(path, flags | O_CLOEXEC);
  if (file < 0) {
    perror(path);
    exit(1);
  }
  return file;
}

// The busy share of the node over the last five seconds; to be called once a second.
static double node(void) {
  static int64_t idles[5], moments[5];
  static int turn;
  long long user, nice, system, idle, wait;
  if (sscanf(text(node_file), "cpu %lld %lld %lld %lld %lld", &user, &nice, &system, &idle,
             &wait) != 5)
    exit(1);
  int64_t before = idles[turn], then = moments[turn], moment = now();
  idles[turn] = idle + wait, moments[turn] = moment;
  turn = (turn + 1) % 5;
  if (!then) return 0;
  double ticks = (double)sysconf(_SC_CLK_TCK), cpus = (double)sysconf(_SC_NPROCESSORS_ONLN);
  return 1 - (double)(idle + wait - before) / ticks / ((double)(moment - then) / 1e6) / cpus;
}

// Lowers before it raises, so that the sum is not above what was asked for in between.
static void write_quotas(const int64_t *wanted) {
  for (int up = 0; up < 2; up++)
    for (int i = 0; i < pool.count; i++) {
      struct member *it = &pool.members[i];
      if ((wanted[i] > it->quota) != up || wanted[i] == it->quota) continue;
      if (set(files[i].quota, wanted[i]) == 0) it->quota = wanted[i];
    }
}

static void write_memory(const int64_t *wanted) {
  for (int up = 0; up < 2; up++)
    for (int i = 0; i < pool.count; i++) {
      struct member *it = &pool.members[i];
      if ((wanted[i] > it->memory) != up || wanted[i] == it->memory) continue;
      // Refused where more is in use: it stays.
      if (set(files[i].limit, wanted[i]) == 0) it->memory = wanted[i];
    }
}

static struct seen look(int i, double busy) {
  int64_t used = number(files[i].usage, NULL) / 1000, moment = now();
  int64_t throttled = number(files[i].stat, "nr_throttled ");
  struct seen seen = {
      pool.members[i].quota, used - files[i].used, throttled - files[i].throttled,
      moment - files[i].reported, busy};
  files[i].used = used, files[i].throttled = throttled;
  return seen;
}

static void koordinator(void) {
  double busy = node();
  int64_t wanted[MEMBERS], floors[MEMBERS];
  for (int i = 0; i < pool.count; i++) {
    wanted[i] = koordinator_law(&pool.members[i].law, look(i, busy));
    floors[i] = pool.members[i].base;
  }
  fit(wanted, floors, pool.count, pool.cpu);
  write_quotas(wanted);
}

static void autopilot(int ticks) {
  for (int i = 0; i < pool.count; i++)
    autopilot_see(&autopilots[i], look(i, 0).use, number(files[i].memory, NULL));
  if (ticks % 10) return;
  int64_t cpu[MEMBERS], memory[MEMBERS], none[MEMBERS] = {0};
  for (int i = 0; i < pool.count; i++) {
    autopilot_law(&autopilots[i], &cpu[i], &memory[i]);
    if (cpu[i] < 1000) cpu[i] = 1000;  // What the kernel takes at the least.
  }
  fit(cpu, none, pool.count, pool.cpu);
  fit(memory, none, pool.count, pool.memory);
  write_quotas(cpu);
  write_memory(memory);
}

static void escra(int ticks) {
  for (int i = 0; i < pool.count; i++) {
    struct member *it = &pool.members[i];
    int64_t periods = number(files[i].stat, "nr_periods "), moment = now();
    int64_t wanted = it->quota;
    if (periods != files[i].periods) {
      wanted = escra_pool_law(&pool, it, look(i, 0), SLICE);
      files[i].periods = periods, files[i].reported = moment;
    } else if (ticks % 20 == 0 && moment - files[i].reported > 2000000) {
      wanted = SLICE < it->quota ? SLICE : it->quota;
    }
    if (wanted != it->quota && set(files[i].quota, wanted) == 0) it->quota = wanted;
  }
  int64_t above = allocated(&pool) - pool.cpu;
  if (above > most_overrun) most_overrun = above;
  if (ticks % 50) return;
  int64_t memory[MEMBERS];
  for (int i = 0; i < pool.count; i++)
    memory[i] = escra_memory_reclaim(pool.members[i].memory, number(files[i].memory, NULL));
  write_memory(memory);
}

// The sum of the memory limits, and each of them.
static int64_t granted_memory(int64_t *limits) {
  int64_t sum = 0;
  for (int i = 0; i < pool.count; i++) sum += limits[i] = pool.members[i].memory;
  return sum;
}

// Somebody is at its memory limit, and waits.
static void grant(int i) {
  uint64_t events;
  if (read(files[i].oom_event, &events, sizeof events) != sizeof events) return;
  int64_t memory[MEMBERS], sum = granted_memory(memory);
  if (sum >= pool.memory) {
    for (int k = 0; k < pool.count; k++)
      if (k != i) memory[k] = escra_memory_reclaim(memory[k], number(files[k].memory, NULL));
    write_memory(memory);
    sum = granted_memory(memory);
  }
  int64_t before = pool.members[i].memory;
  memory[i] = escra_memory_grant(memory[i], pool.memory > sum ? pool.memory - sum : 0);
  write_memory(memory);
  // Refused, by the application or the kernel: then the kernel's own way.
  if (pool.members[i].memory <= before) set(files[i].oom, 0);
}

static void attach(int i, char *directories) {
  const char *cpu = strtok(directories, ","), *usage = strtok(NULL, ","),
             *memory = strtok(NULL, ",");
  if (!cpu || !usage || !memory) exit(1);
  struct files *it = &files[i];
  it->quota = at(cpu, "cpu.cfs_quota_us", O_RDWR), it->stat = at(cpu, "cpu.stat", O_RDONLY);
  it->usage = at(usage, "cpuacct.usage", O_RDONLY);
  it->limit = at(memory, "memory.limit_in_bytes", O_RDWR);
  it->memory = at(memory, "memory.usage_in_bytes", O_RDONLY);
  it->oom = at(memory, "memory.oom_control", O_RDWR), it->oom_event = eventfd(0, EFD_NONBLOCK);
  char line[64];
  int size = snprintf(line, sizeof line, "%d %d", it->oom_event, it->oom);
  int control = at(memory, "cgroup.event_control", O_WRONLY);
  if (write(control, line, (size_t)size) != size) perror("cgroup.event_control");
  close(control);
  struct member *member = &pool.members[i];
  member->quota = member->base = member->law.base = number(it->quota, NULL);
  member->law.ceiling = pool.cpu;
  member->memory = member->memory_base = number(it->limit, NULL);
}

int main(int argc, char **argv) {
  if (argc < 5 || argc > 4 + MEMBERS) return 1;
  int is_koordinator = strcmp(argv[1], "koordinator") == 0;
  int is_escra = strcmp(argv[1], "escra") == 0;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  prctl(PR_SET_TIMERSLACK, 1);
  pool.cpu = atoll(argv[2]), pool.memory = atoll(argv[3]), pool.count = argc - 4;
  node_file = open("/proc/stat", O_RDONLY);
  for (int i = 0; i < pool.count; i++) attach(i, argv[4 + i]);
  struct pollfd polls[1 + MEMBERS] = {{.fd = 0, .events = POLLIN}};
  for (int i = 0; i < pool.count; i++)
    polls[1 + i] = (struct pollfd){.fd = files[i].oom_event, .events = POLLIN};
  int is_on = 0, ticks = 0, step = is_koordinator ? 10 * PERIOD : PERIOD;
  int64_t next = 0;
  for (;;) {
    int wait = is_on ? (int)((next - now() + 999) / 1000) : -1;
    if (wait < 0 && is_on) wait = 0;
    if (poll(polls, is_escra && is_on ? 1 + (nfds_t)pool.count : 1, wait) < 0) continue;
    for (int i = 0; i < pool.count; i++)
      if (is_on && is_escra && polls[1 + i].revents) grant(i);
    if (polls[0].revents) {
      char line[64];
      ssize_t size = read(0, line, sizeof line - 1);
      if (size <= 0) return 0;
      is_on = line[0] == 'g';
      for (int i = 0; i < pool.count; i++) {
        // The net is on only while somebody would answer.
        if (is_escra) set(files[i].oom, is_on);
        look(i, 0);
        files[i].reported = now();
      }
      next = now() + step;
      if (!is_on) {
        printf("overrun %lld\n", (long long)most_overrun);
        fflush(stdout);
      }
    }
    if (!is_on || now() < next) continue;
    next += step, ticks++;
    if (is_koordinator)
      koordinator();
    else if (is_escra)
      escra(ticks);
    else
      autopilot(ticks);
  }
}

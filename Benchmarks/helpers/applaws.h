// SPDX-License-Identifier: Apache-2.0
// What others do with the limits of several containers that share one: pure functions.
//
// CPU as in laws.h: microseconds a period of 100 ms. Memory in bytes.
#include "laws.h"

#define MEMBERS 8
#define MIB (1 << 20)

struct member {
  int64_t quota, base;      // in force, and what was declared
  int64_t memory, memory_base;
  struct law law;
};

struct pool {
  int64_t cpu, memory;  // what the application may have
  int count;
  int64_t overrun;  // granted above it, under Escra's rule
  struct member members[MEMBERS];
};

static inline int64_t allocated(const struct pool *pool) {
  int64_t sum = 0;
  for (int i = 0; i < pool->count; i++) sum += pool->members[i].quota;
  return sum;
}

// Limits whose sum is too large, made smaller in proportion to what is above the floor of each.
static inline void fit(int64_t *wanted, const int64_t *floors, int count, int64_t most) {
  int64_t sum = 0, floor = 0;
  for (int i = 0; i < count; i++) sum += wanted[i], floor += floors[i];
  if (sum <= most) return;
  double share = sum > floor && most > floor ? (double)(most - floor) / (double)(sum - floor) : 0;
  for (int i = 0; i < count; i++)
    if (wanted[i] > floors[i])
      wanted[i] = floors[i] + (int64_t)((double)(wanted[i] - floors[i]) * share);
}

// Autopilot's moving window recommender (EuroSys 2020, section 3.2), all times 300 times shorter:
// what it aggregates over 5 minutes is a second here, an hour 12 s, the half-life of CPU 144 s
// (12 h). Samples are of 100 ms. For services it takes the 95th percentile of a histogram in which
// each sample weighs by its load, 15 % more, and the maximum of what that was in the last hour;
// for memory the maximum of two days, the half-life that it has for memory. Its learned models are
// not published.
#define BUCKETS 400
#define HOUR 12
#define DAYS 576

struct autopilot {
  double histogram[BUCKETS];  // seconds' histograms, decayed
  double window[BUCKETS];
  int64_t recommended[HOUR], peaks[DAYS];
  int64_t peak;
  int windows;
};

#define BUCKET_US 500  // of CPU in 100 ms: up to two CPUs

static inline void autopilot_see(struct autopilot *it, int64_t use, int64_t memory) {
  int64_t bucket = within(use / BUCKET_US, 0, BUCKETS - 1);
  it->window[bucket]++;
  if (memory > it->peak) it->peak = memory;
}

// The end of a window: what the limits shall be.
static inline void autopilot_law(struct autopilot *it, int64_t *cpu, int64_t *memory) {
  double sum = 0, below = 0;
  for (int i = 0; i < BUCKETS; i++) {
    // 2^(-1/144).
    it->histogram[i] = it->histogram[i] * 0.995198 + it->window[i];
    it->window[i] = 0;
    sum += it->histogram[i] * (i + 1);
  }
  int at = 0;
  for (; at < BUCKETS - 1; at++)
    if ((below += it->histogram[at] * (at + 1)) >= 0.95 * sum) break;
  it->recommended[it->windows % HOUR] = (int64_t)((at + 1) * BUCKET_US * 1.15);
  it->peaks[it->windows % DAYS] = (int64_t)((double)it->peak * 1.15);
  it->peak = 0;
  it->windows++;
  *cpu = *memory = 0;
  for (int i = 0; i < HOUR; i++)
    if (it->recommended[i] > *cpu) *cpu = it->recommended[i];
  for (int i = 0; i < DAYS; i++)
    if (it->peaks[i] > *memory) *memory = it->peaks[i];
}

// Escra's controller for a member of an application (ec_gcm, Manager.cpp): the pool has what is
// not granted, and what was granted above it, which is paid back. Its slice is 30 ms for machines
// with dozens of cores; the caller gives one that fits.
static inline int64_t escra_pool_law(
    struct pool *pool, struct member *it, struct seen seen, double slice) {
  double quota = (double)seen.quota, fair = (double)(pool->cpu / pool->count);
  double free = (double)(pool->cpu - allocated(pool));
  if (free < 0) free = 0;
  double left = seen.use < seen.quota ? (double)(seen.quota - seen.use) : 0;
  struct law *law = &it->law;
  law->throttled[law->periods % 10] = (double)seen.throttled;
  law->left[law->periods % 10] = left;
  law->periods++;
  double throttled = mean(law->throttled, law->periods), kept = mean(law->left, law->periods);
  double wanted = quota;
  if (seen.silence > 2000000 && free > 0) {
    double jump = free < PERIOD ? free : PERIOD;
    wanted = jump > quota ? jump : quota;
  } else if (pool->overrun > 0 && quota > fair) {
    double share = (quota - fair) / fair, less = share > 1 ? share * slice : share * (quota - fair);
    if (less < slice / 2) less = quota - fair;
    if (less > (double)pool->overrun) less = (double)pool->overrun;
    wanted -= less, pool->overrun -= (int64_t)less;
  } else if (quota < fair && throttled > 0.5) {
    double lack = fair - quota, share = lack / fair;
    double add = lack > slice / 2 ? share * lack : lack;
    if (free > 0)
      wanted += add < free ? add : free;
    else
      wanted += add, pool->overrun += (int64_t)add;
  } else if (throttled >= 0.1 && free > 0) {
    double add = 20 * throttled * slice;
    wanted += add < free ? add : free;
  } else if (left / quota > 0.2 && quota >= slice) {
    wanted = wanted * 0.8 > slice ? wanted * 0.8 : slice;
  } else if (kept > 5000 && quota > slice) {
    wanted = wanted - 5000 > slice ? wanted - 5000 : slice;
  }
  int64_t next = (int64_t)wanted;
  if (next != seen.quota)
    for (int i = 0; i < 10; i++) law->throttled[i] = law->left[i] = 0;
  return next;
}

// Its memory: 50 MiB above the use, looked at every 5 s, and 5000 pages more for who is at its
// limit, as long as there are any.
static inline int64_t escra_memory_reclaim(int64_t limit, int64_t use) {
  return limit - use > 50 * MIB ? use + 50 * MIB : limit;
}

static inline int64_t escra_memory_grant(int64_t limit, int64_t free) {
  int64_t slice = 5000 * 4096;
  return limit + (free < slice ? free : slice);
}

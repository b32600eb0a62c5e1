// SPDX-License-Identifier: Apache-2.0
// What others do with a container's quota, as they publish it: pure functions of what they see.
//
// All times in microseconds; quotas are CPU time a period of 100 ms. Escra's law is that of one
// container alone in its application: nobody else's quota is unallocated or overrun.
#include <stdint.h>

#define PERIOD 100000

struct seen {
  int64_t quota;      // in force
  int64_t use;        // CPU time since the last look
  int64_t throttled;  // periods since the last look that ended throttled
  int64_t silence;    // without a report before this one
  double node;        // of the node's CPU time that was used in the last 5 s, 0 to 1
};

struct law {
  int64_t base, ceiling;
  int calm, periods;
  double throttled[10], left[10];
};

static inline int64_t within(int64_t quota, int64_t least, int64_t most) {
  return quota < least ? least : quota > most ? most : quota;
}

// The best that can be made of nr_throttled at 100 ms: all there is when it has risen, and back
// when the base was enough for 300 ms. Autothrottle's Captain reads it as often.
static inline int64_t poll_law(struct law *law, struct seen seen) {
  law->calm = seen.throttled > 0 || seen.use > law->base ? 0 : law->calm + 1;
  if (seen.throttled > 0) return law->ceiling;
  return law->calm >= 3 ? law->base : seen.quota;
}

// Koordinator's cfsQuotaBurst at its defaults, once a second (koordlet, cpu_burst.go): up by a
// fifth while there were throttled periods, to 300 %; down by a fifth while the node uses half of
// its CPUs or more. A quota that is not needed any more stays where there are CPUs to spare.
static inline int64_t koordinator_most(const struct law *law) {
  return within(3 * law->base, law->base, law->ceiling);
}

static inline int64_t koordinator_law(struct law *law, struct seen seen) {
  double quota = (double)seen.quota;
  if (seen.node >= 0.5)
    quota *= 0.8;
  else if (seen.node < 0.45 && seen.throttled > 0)
    quota *= 1.2;
  return within((int64_t)quota, law->base, koordinator_most(law));
}

// The mean of the last ten, as the authors' window has it: emptied, it keeps the number of periods.
static inline double mean(const double *values, int periods) {
  double sum = 0;
  for (int i = 0; i < 10; i++) sum += values[i];
  return sum / (periods < 10 ? periods : 10);
}

// Escra's controller (ec_gcm, Manager.cpp), at each report: one a period in which the group's timer
// ran. The floor is the base: the authors' 30 ms for all are above what this one declared.
static inline int64_t escra_law(struct law *law, struct seen seen) {
  const double slice = 30000;
  double quota = (double)seen.quota, free = (double)law->ceiling - quota, fair = law->ceiling;
  double left = seen.use < seen.quota ? (double)(seen.quota - seen.use) : 0;
  law->throttled[law->periods % 10] = (double)seen.throttled;
  law->left[law->periods % 10] = left;
  law->periods++;
  double throttled = mean(law->throttled, law->periods), kept = mean(law->left, law->periods);
  double wanted = quota;
  if (seen.silence > 2000000 && free > 0) {
    wanted = free < PERIOD ? free : PERIOD;
  } else if (quota < fair && throttled > 0.5) {
    double lack = fair - quota, share = lack / fair, add = share * lack;
    wanted += lack <= slice / 2 ? lack : add < free ? add : free;
  } else if (throttled >= 0.1 && free > 0) {
    double add = 20 * throttled * slice;
    wanted += add < free ? add : free;
  } else if (left / quota > 0.2) {
    wanted *= 0.8;
  } else if (kept > 5000) {
    wanted -= 5000;
  }
  int64_t next = within((int64_t)wanted, law->base, law->ceiling);
  if (next != seen.quota)
    for (int i = 0; i < 10; i++) law->throttled[i] = law->left[i] = 0;
  return next;
}

// What its other thread does every 2 s with a container that has sent no report for so long.
static inline int64_t escra_idle(const struct law *law, int64_t quota, int64_t silence) {
  return silence > 2000000 ? law->base : quota;
}

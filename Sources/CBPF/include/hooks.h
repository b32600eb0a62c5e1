// SPDX-License-Identifier: Apache-2.0
//
// What the programs in the kernel and the supervisors have in common. Its bytes are part of the
// layout that `escra_hooks_layout` names, as they are part of the object's type information.
#ifndef ESCRA_HOOKS_H
#define ESCRA_HOOKS_H

#ifdef __bpf__
typedef __u64 escra_u64;
typedef __s64 escra_s64;
typedef __u32 escra_u32;
#else
#include <stdint.h>
typedef uint64_t escra_u64;
typedef int64_t escra_s64;
typedef uint32_t escra_u32;
#endif

/// One supervised group, by the id of its cgroup in the cpu hierarchy.
struct escra_hook_group {
    /// The ring that hears of it, by its key: whose it is. An entry whose supervisor is dead means
    /// nothing any more.
    escra_u64 ring;
    /// At or below this quota the group counts as resting, in nanoseconds.
    escra_u64 floor;
    /// What a resting group may use in a period before it is told of while it goes on, in
    /// nanoseconds.
    escra_u64 quiet;
    /// What is told of when less is left, but never more than half of the quota, in nanoseconds.
    escra_u64 margin;
    /// Nearer to memory.high than this is told of, in pages; 0 where its memory is not minded.
    escra_u64 near;

    // What was told last: the programs' own. Written without a lock, since the worst that a race
    // does is an event told twice.
    escra_u64 told_end;
    escra_u64 told_quota;
    escra_s64 told_left;
    escra_u64 throttled_end;
    escra_u64 throttled_quota;
    escra_u64 told_line;
    escra_s64 told_near;
};

/// What was seen.
enum escra_hook_kind {
    /// What is left of the period's runtime fell below the margin, or again below half of what was
    /// told.
    ESCRA_RUNNING_OUT = 1,
    /// The group was throttled.
    ESCRA_THROTTLED = 2,
    /// A group above it was throttled, and it with that one.
    ESCRA_ANCESTOR_THROTTLED = 3,
    /// What it uses of memory has come near its memory.high, or again half as near as was told.
    ESCRA_NEAR_LINE = 4,
};

/// An event.
struct escra_hook_event {
    /// The group's cgroup id.
    escra_u64 group;
    /// When, on CLOCK_MONOTONIC, in nanoseconds.
    escra_u64 time;
    /// Nanoseconds of runtime that the CPU on which it was seen may still have: the rest of its own
    /// slice and what no CPU has taken yet. Negative when it was overrun. Of memory the pages up to
    /// the line.
    escra_s64 left;
    union {
        /// When the kernel refills the group, on CLOCK_MONOTONIC; in the past when no timer runs.
        escra_u64 period_end;
        /// Pages in use, with those that are being charged.
        escra_u64 used;
    };
    union {
        /// The quota in force, in nanoseconds a period.
        escra_u64 quota;
        /// memory.high in pages.
        escra_u64 line;
    };
    /// On which CPU.
    escra_u32 cpu;
    /// An `escra_hook_kind`.
    escra_u32 kind;
};

#endif

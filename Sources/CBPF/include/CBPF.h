// SPDX-License-Identifier: Apache-2.0
//
// The hooks in the scheduler: what the BPF programs and we have in common, and the bpf(2) calls.
//
// Every function returns what the system call returns: -1 and errno on failure.
#ifndef ESCRA_CBPF_H
#define ESCRA_CBPF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hooks.h"

/// The most programs that are ever attached at once: two for the CPU, the last one for memory.
enum { ESCRA_HOOK_LINKS = 3 };

/// The kernel's names for what one load left: ids of maps and links (bpf(2), *_GET_FD_BY_ID).
struct escra_hook_ids {
    uint32_t groups;
    uint32_t rings;
    uint32_t link_count;
    uint32_t links[ESCRA_HOOK_LINKS];
    /// Each link's program, because ids of links may come again in the end.
    uint32_t programs[ESCRA_HOOK_LINKS];
    /// What was attached beside the prediction: bits of `enum escra_hook_net`.
    uint32_t nets;
};

/// Programs that see a throttle that happened all the same, and the one that minds memory.
enum escra_hook_net {
    /// Nothing beside the prediction, which sees them all (from Linux 6.18).
    ESCRA_NET_NONE = 0,
    /// fexit/throttle_cfs_rq: each throttle, as it happens (before Linux 6.18, where allowed).
    ESCRA_NET_THROTTLE = 1,
    /// tp_btf/sched_wakeup: a task wakes into a throttled group (before Linux 6.18).
    ESCRA_NET_WAKEUP = 2,
    /// fentry/page_counter_try_charge: memory comes near memory.high (cgroup v2, where allowed).
    ESCRA_HOOK_MEMORY = 4,
    /// That one was tried and refused: nobody has to try again.
    ESCRA_HOOK_MEMORY_REFUSED = 8,
};

/// Loads the programs and attaches those that this kernel lets us, best first. libbpf leaves a
/// megabyte of used heap behind: for a process that ends soon. What was loaded lives as long as
/// this process, or as somebody who has taken it by its ids.
///
/// errno: EPERM, EINVAL and whatever else the kernel says to the last attempt.
int escra_hooks_load(struct escra_hook_ids *_Nonnull ids);

/// Loads the program that minds memory onto the maps of what was loaded before, attaches it, and
/// adds it to `ids` as the last link. As heavy as `escra_hooks_load`.
///
/// errno: as there; `ids` says then that it was refused.
int escra_hooks_load_memory(struct escra_hook_ids *_Nonnull ids);

/// How many programs there are to try.
enum { ESCRA_HOOK_PROGRAMS = 4 };

/// What a program is attached to, as "tp_btf/sched_wakeup".
const char *_Nonnull escra_hooks_name(int program);

/// Loads and attaches one program for a moment, to see whether it can be. As heavy as
/// `escra_hooks_load`.
int escra_hooks_try(int program);

/// A number that names the programs and the layout of their maps: FNV-1a of the object file.
uint64_t escra_hooks_layout(void);

/// Open descriptors of one load.
struct escra_hook_files {
    int groups;
    int rings;
    int links[ESCRA_HOOK_LINKS];
};

/// Opens what has these ids; all of it, or nothing. Needs CAP_SYS_ADMIN.
/// errno: ENOENT when it is gone, ESTALE when an id means something else by now.
int escra_hooks_open(const struct escra_hook_ids *_Nonnull ids,
                     struct escra_hook_files *_Nonnull files);

/// A ring for events of one supervisor, as a map: one page of data. It polls readable when there
/// are events. Needs CAP_BPF.
int escra_ring_create(void);

/// What the kernel calls a map.
int escra_map_id(int map, uint32_t *_Nonnull id);

/// Opens a ring by what the kernel calls it. Needs CAP_SYS_ADMIN.
int escra_ring_open(uint32_t id);

/// Puts a group under the programs' eyes.
int escra_hooks_watch(int groups, uint64_t group, const struct escra_hook_group *_Nonnull value);

/// Puts a ring under a key, in the place of what was there.
int escra_hooks_connect(int rings, uint64_t key, int ring);

/// Removes a key from one of the maps; ENOENT when it is not there.
int escra_hooks_remove(int map, uint64_t key);

/// The key behind `previous`, or the first one where that is NULL; ENOENT after the last.
int escra_hooks_next(int map, const uint64_t *_Nullable previous, uint64_t *_Nonnull next);

/// A group's entry.
int escra_hooks_look(int groups, uint64_t group, struct escra_hook_group *_Nonnull value);

/// A mapped ring: three pages, one of them ours to write.
struct escra_ring {
    void *_Nullable consumer;
    void *_Nullable producer;
};

/// Maps a ring. Needs no capability.
int escra_ring_map(int ring, struct escra_ring *_Nonnull mapped);

/// Gives the pages back; the events stay, and so does the ring.
void escra_ring_unmap(struct escra_ring *_Nonnull mapped);

/// Takes the oldest event out.
bool escra_ring_take(const struct escra_ring *_Nonnull mapped,
                     struct escra_hook_event *_Nonnull event);

#endif

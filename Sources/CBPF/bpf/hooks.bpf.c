// SPDX-License-Identifier: Apache-2.0
//
// The scheduler tells supervisors that a container's CPU time runs out, before it has; and whoever
// charges memory, that it comes near memory.high.
//
// One object for the whole host. A task's groups are looked for by the id of their cgroup, so what
// a context switch costs does not depend on how many containers are supervised; a task whose groups
// have no quota costs a few loads, and so does a charge far below the line.
#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#include "../include/hooks.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

// Only what is read, relocated to where it is in the kernel that runs (CO-RE). Where they come
// from: kernel/sched/sched.h, include/linux/{cgroup-defs,kernfs,hrtimer_types,sched}.h.
struct kernfs_node {
    __u64 id;
};
struct cgroup {
    struct kernfs_node *kn;
};
struct cgroup_subsys_state {
    struct cgroup *cgroup;
};
struct timerqueue_node {
    __s64 expires;
};
struct hrtimer {
    struct timerqueue_node node;
};
struct cfs_bandwidth {
    __u64 quota;
    __u64 runtime;
    struct hrtimer period_timer;
};
struct task_group {
    struct cgroup_subsys_state css;
    struct cfs_bandwidth cfs_bandwidth;
};
struct cfs_rq {
    struct task_group *tg;
    int runtime_enabled;
    __s64 runtime_remaining;
    int throttled;
    int throttle_count;
};
struct sched_entity {
    struct sched_entity *parent;
    struct cfs_rq *cfs_rq;
};
struct task_struct {
    unsigned int __state;
    struct sched_entity se;
};
// Where memory is charged: include/linux/{page_counter,memcontrol,types}.h.
typedef struct {
    __s64 counter;
} atomic_long_t;
struct page_counter {
    atomic_long_t usage;
    unsigned long high;
    struct page_counter *parent;
};
struct mem_cgroup {
    struct cgroup_subsys_state css;
    struct page_counter memory;
};

#pragma clang attribute pop

// Groups of groups are looked through this far: a container with an init system of its own has
// some below the supervised one, a pod's and its slices are above.
#define LEVELS 8

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 16384);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, escra_u64);
    __type(value, struct escra_hook_group);
} escra_groups SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
    __uint(max_entries, 16384);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, escra_u64);
    __array(values, struct {
        __uint(type, BPF_MAP_TYPE_RINGBUF);
        __uint(max_entries, 4096);
    });
} escra_rings SEC(".maps");

// Who waits for a group hears of it.
static __always_inline void say(const struct escra_hook_group *group,
                                struct escra_hook_event *event)
{
    escra_u64 key = group->ring;
    void *ring = bpf_map_lookup_elem(&escra_rings, &key);
    // Full: who does not read has been told.
    if (ring)
        bpf_ringbuf_output(ring, event, sizeof *event, 0);
}

static __always_inline void tell(const struct escra_hook_group *group, struct cfs_rq *queue,
                                 escra_u64 id, escra_s64 left, escra_u32 kind)
{
    struct escra_hook_event event = {
        .group = id,
        .time = bpf_ktime_get_ns(),
        .left = left,
        .period_end = queue->tg->cfs_bandwidth.period_timer.node.expires,
        .quota = queue->tg->cfs_bandwidth.quota,
        .cpu = bpf_get_smp_processor_id(),
        .kind = kind,
    };
    say(group, &event);
}

// What CPU time this CPU can still get: its own slice, which `ran` is not charged to yet, and the
// rest that no CPU has taken. What other CPUs hold of their slices is out of its reach.
static __always_inline escra_s64 left_on(struct cfs_rq *queue, escra_u64 ran)
{
    return (escra_s64)queue->tg->cfs_bandwidth.runtime + queue->runtime_remaining - (escra_s64)ran;
}

static __always_inline void tell_throttled(struct escra_hook_group *group, struct cfs_rq *queue,
                                           escra_u64 id, escra_u32 kind)
{
    escra_u64 end = queue->tg->cfs_bandwidth.period_timer.node.expires;
    escra_u64 quota = queue->tg->cfs_bandwidth.quota;
    if (group->throttled_end == end && group->throttled_quota == quota)
        return;
    group->throttled_end = end;
    group->throttled_quota = quota;
    tell(group, queue, id, left_on(queue, 0), kind);
}

// Whether a task is about to sleep: it says so before it leaves its CPU. Linux before 5.14 has
// another name for it, and there everybody goes on.
static __always_inline bool goes_on(struct task_struct *task)
{
    return !bpf_core_field_exists(task->__state) || task->__state == 0;
}

static __always_inline void look(struct escra_hook_group *group, struct cfs_rq *queue,
                                 escra_u64 id, escra_s64 left, struct task_struct *task)
{
    struct task_group *tg = queue->tg;
    escra_u64 quota = tg->cfs_bandwidth.quota;
    escra_s64 margin = quota / 2 < group->margin ? quota / 2 : group->margin;
    // At rest, whatever is more than nothing is news, since by the next tick all may be gone; but
    // not from who has done what it woke up for.
    if (quota <= group->floor && quota - group->quiet > (escra_u64)margin && left >= margin &&
        goes_on(task))
        margin = quota - group->quiet;
    if (left >= margin)
        return;
    escra_u64 end = tg->cfs_bandwidth.period_timer.node.expires;
    // Once a period and quota, and again when half of what was told is gone. At the end of the
    // kernel's patience it is the net that speaks.
    if (group->told_end == end && group->told_quota == quota && left * 2 >= group->told_left)
        return;
    group->told_end = end;
    group->told_quota = quota;
    group->told_left = left;
    tell(group, queue, id, left, ESCRA_RUNNING_OUT);
}

// update_curr(): `ran` nanoseconds of CPU time are about to be charged to a task and its groups.
//
// Where nothing is left afterwards the kernel throttles the group in the same breath
// (account_cfs_rq_runtime()), and with a group above the supervised one that one, too.
SEC("tp_btf/sched_stat_runtime")
int BPF_PROG(escra_runtime, struct task_struct *task, escra_u64 ran)
{
    struct sched_entity *entity = &task->se;
    struct escra_hook_group *group = NULL;
    escra_u64 id = 0;
    for (int level = 0; level < LEVELS && entity; level++) {
        struct cfs_rq *queue = entity->cfs_rq;
        entity = entity->parent;
        if (!queue->runtime_enabled)
            continue;
        escra_u64 key = queue->tg->css.cgroup->kn->id;
        struct escra_hook_group *ours = bpf_map_lookup_elem(&escra_groups, &key);
        if (ours) {
            group = ours;
            id = key;
        }
        if (!group)
            continue;
        escra_s64 left = left_on(queue, ran);
        if (left <= 0)
            tell_throttled(group, queue, id, ours ? ESCRA_THROTTLED : ESCRA_ANCESTOR_THROTTLED);
        else if (ours)
            look(group, queue, id, left, task);
    }
    return 0;
}

// Finds out which of a task's groups is throttled, and whose concern that is: a group's below the
// supervised one is the container's own.
static __always_inline void blame(struct task_struct *task)
{
    struct sched_entity *entity = &task->se;
    if (!entity->cfs_rq->throttle_count)
        return;
    struct escra_hook_group *group = NULL;
    escra_u64 id = 0;
    for (int level = 0; level < LEVELS && entity; level++) {
        struct cfs_rq *queue = entity->cfs_rq;
        struct escra_hook_group *ours = NULL;
        if (queue->runtime_enabled) {
            escra_u64 key = queue->tg->css.cgroup->kn->id;
            ours = bpf_map_lookup_elem(&escra_groups, &key);
            if (ours) {
                group = ours;
                id = key;
            }
        }
        // A bit since Linux 6.18, an int before.
        if (group && BPF_CORE_READ_BITFIELD(queue, throttled)) {
            tell_throttled(group, queue, id, ours ? ESCRA_THROTTLED : ESCRA_ANCESTOR_THROTTLED);
            return;
        }
        entity = entity->parent;
    }
}

// A task wakes in a group that was throttled while it slept, or by its waking.
//
// Since Linux 6.18 it has to run to be throttled (it does so on its way to user mode), and is seen
// above; before, it may be throttled as it is queued (check_enqueue_throttle()).
SEC("tp_btf/sched_wakeup")
int BPF_PROG(escra_wakeup, struct task_struct *task)
{
    blame(task);
    return 0;
}

// The same where functions can be hooked: throttle_cfs_rq() says false when it found CPU time after
// all.
SEC("fexit/throttle_cfs_rq")
int BPF_PROG(escra_throttle, struct cfs_rq *queue, bool did)
{
    if (!did)
        return 0;
    escra_u64 id = queue->tg->css.cgroup->kn->id;
    struct escra_hook_group *group = bpf_map_lookup_elem(&escra_groups, &id);
    if (group)
        tell_throttled(group, queue, id, ESCRA_THROTTLED);
    return 0;
}

// A group that is looked for by its id only when it is as near to its line as this, in pages: more
// than any supervisor wants to hear of. A group without a line never is.
#define NEAR 4096

static __always_inline void charge(struct page_counter *counter, escra_s64 used, escra_s64 line)
{
    // Of another counter than `memory`, as that of swap, this is no group's id.
    struct mem_cgroup *memory =
        (void *)counter - bpf_core_field_offset(struct mem_cgroup, memory);
    escra_u64 id = BPF_CORE_READ(memory, css.cgroup, kn, id);
    struct escra_hook_group *group = bpf_map_lookup_elem(&escra_groups, &id);
    if (!group || !group->near)
        return;
    escra_s64 left = line - used;
    escra_s64 near = group->near;
    if (left >= near) {
        // Who has gone away and comes near again is news again. Giving back leaves a head up to the
        // line, which may be one that was told of before: that has to be away enough.
        if (left >= near + near / 4 && group->told_line == (escra_u64)line)
            group->told_line = 0;
        return;
    }
    // Once a line, and again when half of what was told is gone, until it is crossed: what was page
    // cache at first, and no need, may be none by then.
    bool is_told = group->told_line == (escra_u64)line;
    if (is_told && (group->told_near <= 0 || left * 2 > group->told_near))
        return;
    group->told_line = line;
    group->told_near = left;
    struct escra_hook_event event = {
        .group = id,
        .time = bpf_ktime_get_ns(),
        .left = left,
        .used = used,
        .line = line,
        .cpu = bpf_get_smp_processor_id(),
        .kind = ESCRA_NEAR_LINE,
    };
    say(group, &event);
}

// try_charge_memcg(): pages are about to be charged to a group and all above it. The kernel takes
// 64 of them for each CPU at once, so this runs once in 256 KiB; above memory.high it slows down
// who charges, after this.
SEC("fentry/page_counter_try_charge")
int BPF_PROG(escra_charge, struct page_counter *counter, unsigned long pages)
{
    for (int level = 0; level < LEVELS && counter; level++) {
        escra_s64 used = counter->usage.counter + (escra_s64)pages;
        escra_s64 line = (escra_s64)counter->high;
        if (used + NEAR > line)
            charge(counter, used, line);
        counter = counter->parent;
    }
    return 0;
}

// The kernel lends some of its helpers only to programs under its own licence.
char escra_license[] SEC("license") = "Dual BSD/GPL";

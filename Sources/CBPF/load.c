// SPDX-License-Identifier: Apache-2.0
//
// Loading and attaching, by libbpf: it relocates the programs to the kernel that runs.
#include "CBPF.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "hooks.skel.h"

// What goes wrong is told by errno to who asked; nobody reads our stderr.
static int say_nothing(enum libbpf_print_level level, const char *format, va_list arguments) {
    (void)level, (void)format, (void)arguments;
    return 0;
}

// Since Linux 6.18 a task is throttled on its way back to user mode, by work that hangs on it
// ("sched/fair: Task based throttle"), so it always runs first, and the prediction misses nothing.
// Before, it could be throttled by waking. By the number: to look for it in the kernel's types
// takes as long as loading does, and who has it earlier merely has a net that catches nothing.
static bool throttles_tasks(void) {
    struct utsname kernel;
    int major = 0, minor = 0;
    if (uname(&kernel) < 0 || sscanf(kernel.release, "%d.%d", &major, &minor) != 2)
        return false;
    return major > 6 || (major == 6 && minor >= 18);
}

// Has a map of the object be one that there is already.
static int reuse(struct bpf_map *map, uint32_t id) {
    int descriptor = bpf_map_get_fd_by_id(id);
    if (descriptor < 0)
        return -errno;
    int result = bpf_map__reuse_fd(map, descriptor);
    close(descriptor);
    return result;
}

// The object with these programs and no other, loaded, on maps of its own or those of `onto`; NULL
// and errno.
static struct escra_hooks *load(bool runtime, uint32_t nets, const struct escra_hook_ids *onto) {
    struct escra_hooks *hooks = escra_hooks__open();
    if (!hooks)
        return NULL;
    bpf_program__set_autoload(hooks->progs.escra_runtime, runtime);
    bpf_program__set_autoload(hooks->progs.escra_throttle, nets & ESCRA_NET_THROTTLE);
    bpf_program__set_autoload(hooks->progs.escra_wakeup, nets & ESCRA_NET_WAKEUP);
    bpf_program__set_autoload(hooks->progs.escra_charge, nets & ESCRA_HOOK_MEMORY);
    int error = 0;
    if (onto) {
        error = -reuse(hooks->maps.escra_groups, onto->groups);
        error = error ? error : -reuse(hooks->maps.escra_rings, onto->rings);
    }
    error = error ? error : -escra_hooks__load(hooks);
    if (error == 0)
        return hooks;
    escra_hooks__destroy(hooks);
    errno = error;
    return NULL;
}

static int identify_map(const struct bpf_map *map, uint32_t *id) {
    struct bpf_map_info info = {0};
    uint32_t size = sizeof info;
    int result = bpf_obj_get_info_by_fd(bpf_map__fd(map), &info, &size);
    *id = info.id;
    return result;
}

// Attaches what was loaded. Links are closed by the end of the process, not before.
static int attach(struct escra_hooks *hooks, struct escra_hook_ids *ids) {
    struct bpf_program *program;
    bpf_object__for_each_program(program, hooks->obj) {
        if (!bpf_program__autoload(program))
            continue;
        struct bpf_link *link = bpf_program__attach(program);
        if (!link)
            return -1;
        struct bpf_link_info info = {0};
        uint32_t size = sizeof info;
        if (bpf_obj_get_info_by_fd(bpf_link__fd(link), &info, &size) < 0)
            return -1;
        ids->links[ids->link_count] = info.id;
        ids->programs[ids->link_count++] = info.prog_id;
    }
    return identify_map(hooks->maps.escra_groups, &ids->groups) < 0 ||
                   identify_map(hooks->maps.escra_rings, &ids->rings) < 0
               ? -1
               : 0;
}

int escra_hooks_load(struct escra_hook_ids *ids) {
    libbpf_set_print(say_nothing);
    bool is_late = throttles_tasks();
    uint32_t nets[] = {
        is_late ? ESCRA_NET_NONE : ESCRA_NET_THROTTLE,
        is_late ? ESCRA_NET_NONE : ESCRA_NET_WAKEUP,
    };
    for (size_t i = 0; i < sizeof nets / sizeof *nets; i++) {
        struct escra_hooks *hooks = load(true, nets[i], NULL);
        if (!hooks)
            continue;
        memset(ids, 0, sizeof *ids);
        ids->nets = nets[i];
        if (attach(hooks, ids) == 0)
            return 0;
        int error = errno;
        escra_hooks__destroy(hooks);
        errno = error;
    }
    return -1;
}

int escra_hooks_load_memory(struct escra_hook_ids *ids) {
    libbpf_set_print(say_nothing);
    struct escra_hook_ids before = *ids;
    struct escra_hooks *hooks = load(false, ESCRA_HOOK_MEMORY, ids);
    if (hooks && attach(hooks, ids) == 0) {
        ids->nets |= ESCRA_HOOK_MEMORY;
        return 0;
    }
    int error = errno;
    *ids = before;
    if (hooks)
        escra_hooks__destroy(hooks);
    ids->nets |= ESCRA_HOOK_MEMORY_REFUSED;
    errno = error;
    return -1;
}

static const struct {
    const char *name;
    uint32_t net;
} programs[ESCRA_HOOK_PROGRAMS] = {
    {"tp_btf/sched_stat_runtime", 0},
    {"fexit/throttle_cfs_rq", ESCRA_NET_THROTTLE},
    {"tp_btf/sched_wakeup", ESCRA_NET_WAKEUP},
    {"fentry/page_counter_try_charge", ESCRA_HOOK_MEMORY},
};

const char *escra_hooks_name(int program) { return programs[program].name; }

int escra_hooks_try(int program) {
    libbpf_set_print(say_nothing);
    struct escra_hooks *hooks = load(programs[program].net == 0, programs[program].net, NULL);
    if (!hooks)
        return -1;
    // fexit is refused when it is attached on some kernels, and not before.
    struct escra_hook_ids ids = {0};
    int result = attach(hooks, &ids), error = errno;
    escra_hooks__destroy(hooks);
    errno = error;
    return result;
}

uint64_t escra_hooks_layout(void) {
    size_t size;
    const unsigned char *object = escra_hooks__elf_bytes(&size);
    uint64_t hash = 0xcbf29ce484222325;
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ object[i]) * 0x100000001b3;
    return hash;
}

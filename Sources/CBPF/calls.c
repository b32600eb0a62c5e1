// SPDX-License-Identifier: Apache-2.0
//
// The bpf(2) calls of who lives on, without libbpf, and the ring of events.
#include "CBPF.h"

#include <errno.h>
#include <linux/bpf.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static int bpf(int command, union bpf_attr *attributes) {
    return (int)syscall(SYS_bpf, command, attributes, sizeof *attributes);
}

static uint64_t pointer(const void *value) { return (uint64_t)(uintptr_t)value; }

static int open_id(int command, uint32_t id) {
    union bpf_attr attributes = {0};
    attributes.map_id = id;  // One union: map_id, prog_id and link_id lie at the same place.
    return bpf(command, &attributes);
}

static int describe(int object, void *info, uint32_t size) {
    union bpf_attr attributes = {0};
    attributes.info.bpf_fd = (uint32_t)object;
    attributes.info.info_len = size;
    attributes.info.info = pointer(info);
    return bpf(BPF_OBJ_GET_INFO_BY_FD, &attributes);
}

// Ids are handed out in a circle: one may come again and be somebody else's.
static int open_map(uint32_t id, const char *name) {
    int map = open_id(BPF_MAP_GET_FD_BY_ID, id);
    struct bpf_map_info info = {0};
    if (map < 0 || describe(map, &info, sizeof info) < 0)
        return map;
    if (!strncmp(info.name, name, sizeof info.name))
        return map;
    close(map);
    errno = ESTALE;
    return -1;
}

static int open_link(uint32_t id, uint32_t program) {
    int link = open_id(BPF_LINK_GET_FD_BY_ID, id);
    struct bpf_link_info info = {0};
    if (link < 0 || describe(link, &info, sizeof info) < 0)
        return link;
    if (info.prog_id == program)
        return link;
    close(link);
    errno = ESTALE;
    return -1;
}

int escra_hooks_open(const struct escra_hook_ids *ids, struct escra_hook_files *files) {
    memset(files, -1, sizeof *files);
    bool is_complete = (files->groups = open_map(ids->groups, "escra_groups")) >= 0 &&
                       (files->rings = open_map(ids->rings, "escra_rings")) >= 0 &&
                       ids->link_count > 0 && ids->link_count <= ESCRA_HOOK_LINKS;
    for (uint32_t i = 0; is_complete && i < ids->link_count; i++)
        is_complete = (files->links[i] = open_link(ids->links[i], ids->programs[i])) >= 0;
    if (is_complete)
        return 0;
    int error = errno;
    const int *descriptors = (const int *)files;
    for (size_t i = 0; i < sizeof *files / sizeof *descriptors; i++)
        if (descriptors[i] >= 0)
            close(descriptors[i]);
    memset(files, -1, sizeof *files);
    errno = error;
    return -1;
}

static size_t page(void) { return (size_t)sysconf(_SC_PAGESIZE); }

int escra_ring_create(void) {
    union bpf_attr attributes = {0};
    attributes.map_type = BPF_MAP_TYPE_RINGBUF;
    attributes.max_entries = (uint32_t)page();
    strcpy(attributes.map_name, "escra_ring");
    return bpf(BPF_MAP_CREATE, &attributes);
}

int escra_map_id(int map, uint32_t *id) {
    struct bpf_map_info info = {0};
    int result = describe(map, &info, sizeof info);
    *id = info.id;
    return result;
}

int escra_ring_open(uint32_t id) { return open_map(id, "escra_ring"); }

static int element(int command, int map, const void *key, const void *value) {
    union bpf_attr attributes = {0};
    attributes.map_fd = (uint32_t)map;
    attributes.key = pointer(key);
    attributes.value = pointer(value);
    return bpf(command, &attributes);
}

int escra_hooks_watch(int groups, uint64_t group, const struct escra_hook_group *value) {
    return element(BPF_MAP_UPDATE_ELEM, groups, &group, value);
}

int escra_hooks_connect(int rings, uint64_t key, int ring) {
    return element(BPF_MAP_UPDATE_ELEM, rings, &key, &ring);
}

int escra_hooks_remove(int map, uint64_t key) {
    return element(BPF_MAP_DELETE_ELEM, map, &key, NULL);
}

int escra_hooks_next(int map, const uint64_t *previous, uint64_t *next) {
    return element(BPF_MAP_GET_NEXT_KEY, map, previous, next);
}

int escra_hooks_look(int groups, uint64_t group, struct escra_hook_group *value) {
    return element(BPF_MAP_LOOKUP_ELEM, groups, &group, value);
}

// kernel/bpf/ringbuf.c: a page with the consumer's position, which is ours to write; then a page
// with the producers', and the data twice in a row, so that no event is ever in two pieces.
int escra_ring_map(int ring, struct escra_ring *mapped) {
    void *consumer = mmap(NULL, page(), PROT_READ | PROT_WRITE, MAP_SHARED, ring, 0);
    if (consumer == MAP_FAILED)
        return -1;
    void *producer = mmap(NULL, 3 * page(), PROT_READ, MAP_SHARED, ring, (off_t)page());
    if (producer == MAP_FAILED) {
        int error = errno;
        munmap(consumer, page());
        errno = error;
        return -1;
    }
    *mapped = (struct escra_ring){consumer, producer};
    return 0;
}

void escra_ring_unmap(struct escra_ring *mapped) {
    munmap(mapped->consumer, page());
    munmap(mapped->producer, 3 * page());
    *mapped = (struct escra_ring){NULL, NULL};
}

bool escra_ring_take(const struct escra_ring *mapped, struct escra_hook_event *event) {
    unsigned long *consumed = mapped->consumer;
    const unsigned long *produced = mapped->producer;
    const unsigned char *data = (const unsigned char *)mapped->producer + page();
    unsigned long position = __atomic_load_n(consumed, __ATOMIC_RELAXED);
    while (position < __atomic_load_n(produced, __ATOMIC_ACQUIRE)) {
        const uint32_t *header = (const uint32_t *)(data + (position & (page() - 1)));
        uint32_t length = __atomic_load_n(header, __ATOMIC_ACQUIRE);
        // Still being written, on another CPU: it will call again.
        if (length & BPF_RINGBUF_BUSY_BIT)
            return false;
        bool is_event = !(length & BPF_RINGBUF_DISCARD_BIT) && length == sizeof *event;
        if (is_event)
            memcpy(event, (const unsigned char *)header + BPF_RINGBUF_HDR_SZ, sizeof *event);
        length &= ~(uint32_t)BPF_RINGBUF_DISCARD_BIT;
        position += (length + BPF_RINGBUF_HDR_SZ + 7) & ~7ul;
        __atomic_store_n(consumed, position, __ATOMIC_RELEASE);
        if (is_event)
            return true;
    }
    return false;
}

// SPDX-License-Identifier: Apache-2.0
//
// Adds up the limits of groups from outside, every 2 ms:
//
//     sums LIMIT FILE...
//
// A file is cpu.cfs_quota_us (with 100 ms as its period), cpu.max, or one with a number of bytes.
// Two looks in a row at all of them that agree are a stable sample. A group without a process
// counts as 0. SIGTERM ends it: it prints how many samples there were, how many were stable, how
// many of these were above LIMIT, and the largest.
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST = 256 };

static volatile sig_atomic_t done;

static void on_signal(int signal) {
    (void)signal;
    done = 1;
}

static void look(const int *files, int count, long *values) {
    for (int i = 0; i < count; i++) {
        char text[64];
        ssize_t length = pread(files[i], text, sizeof text - 1, 0);
        text[length > 0 ? length : 0] = 0;
        // A group that is gone has no limit and no process.
        values[i] = length > 0 && strncmp(text, "max", 3) ? atol(text) : 0;
    }
}

// Whether a process is in a group or below it: a container that has ended keeps its group and its
// limit until its engine removes it, and others may have that part by then.
static int has_process(const char *directory, int depth) {
    char path[4096], byte;
    snprintf(path, sizeof path, "%s/cgroup.procs", directory);
    int file = open(path, O_RDONLY);
    long length = file < 0 ? 0 : read(file, &byte, 1);
    if (file >= 0) close(file);
    if (length > 0) return 1;
    DIR *entries = depth > 0 ? opendir(directory) : NULL;
    int found = 0;
    for (struct dirent *entry; entries && !found && (entry = readdir(entries));) {
        if (entry->d_type != DT_DIR || entry->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
        found = has_process(path, depth - 1);
    }
    if (entries) closedir(entries);
    return found;
}

static long sum_of_living(char **paths, int count, const long *values) {
    long sum = 0;
    for (int i = 0; i < count; i++) {
        char directory[4096];
        snprintf(directory, sizeof directory, "%s", paths[i]);
        *strrchr(directory, '/') = 0;
        if (values[i] && has_process(directory, 3)) sum += values[i];
    }
    return sum;
}

int main(int argc, char **argv) {
    static int files[MOST];
    static long first[MOST], second[MOST];
    long limit = argc > 1 ? atol(argv[1]) : 0, samples = 0, stable = 0, above = 0, most = 0;
    int count = argc - 2;
    if (count < 1 || count > MOST) return 2;
    signal(SIGTERM, on_signal);
    for (int i = 0; i < count; i++) {
        files[i] = open(argv[i + 2], O_RDONLY);
        if (files[i] < 0) return 3;
    }
    puts("ready");
    fflush(stdout);
    while (!done) {
        look(files, count, first);
        look(files, count, second);
        samples++;
        if (!memcmp(first, second, sizeof(long) * (size_t)count)) {
            long sum = 0;
            for (int i = 0; i < count; i++) sum += first[i];
            stable++;
            if (sum > limit) sum = sum_of_living(argv + 2, count, first);
            if (sum > limit) above++;
            if (sum > most) most = sum;
        }
        usleep(2000);
    }
    printf("%ld %ld %ld %ld\n", samples, stable, above, most);
    return 0;
}

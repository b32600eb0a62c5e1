// SPDX-License-Identifier: Apache-2.0
#include "CLinux.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>

int escra_lock_file(int fd, bool of_description) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    return fcntl(fd, of_description ? F_OFD_SETLK : F_SETLK, &lock);
}

void escra_unlock_file(int fd, bool of_description) {
    struct flock lock = {.l_type = F_UNLCK, .l_whence = SEEK_SET};
    fcntl(fd, of_description ? F_OFD_SETLK : F_SETLK, &lock);
}

pid_t escra_lock_holder(int fd) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(fd, F_GETLK, &lock) < 0)
        return -1;
    return lock.l_type == F_UNLCK ? 0 : lock.l_pid;
}

static int seqpacket_at(const char *path, int (*attach)(int, const struct sockaddr *, socklen_t)) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && attach(fd, (const struct sockaddr *)&address, sizeof address) < 0) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

int escra_seqpacket_listen_at(const char *path) {
    int fd = seqpacket_at(path, bind);
    if (fd >= 0 && listen(fd, 4096) < 0) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

int escra_seqpacket_connect_to(const char *path) { return seqpacket_at(path, connect); }

long escra_most_descriptors(void) {
    struct rlimit limit;
    return getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_max > LONG_MAX
               ? LONG_MAX
               : (long)limit.rlim_max;
}

int escra_allow_descriptors(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return -1;
    limit.rlim_cur = limit.rlim_max;
    return setrlimit(RLIMIT_NOFILE, &limit);
}

int escra_limit_file_size(unsigned long bytes) {
    struct rlimit limit = {.rlim_cur = bytes, .rlim_max = bytes};
    signal(SIGXFSZ, SIG_IGN);
    return setrlimit(RLIMIT_FSIZE, &limit);
}

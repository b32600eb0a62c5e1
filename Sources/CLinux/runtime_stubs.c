// SPDX-License-Identifier: Apache-2.0
//
// What lets a static Swift executable start where /proc is not mounted.
//
// Before main, libswiftCore looks for a crash reporter beside the executable (Paths.cpp, through
// /proc/self/exe) and aborts when it cannot; and CommandLine finds argv by reading
// /proc/self/maps. An OCI runtime starts inside half-made namespaces and can rely on neither.
// Defining the three functions of Paths.cpp keeps that object out of a static link, and glibc
// hands argc and argv to constructors.
//
// The names are internal to the Swift runtime: a test runs the release binary in a directory
// without /proc, so that a toolchain that renames them fails there and not at a user's.
#include "CLinux.h"

#include <stddef.h>

const char *swift_getRuntimeLibraryPath(void);
const char *swift_getRootPath(void);
char *swift_copyAuxiliaryExecutablePath(const char *name);
void _swift_stdlib_overrideUnsafeArgvArgc(char **argv, int argc);

const char *swift_getRuntimeLibraryPath(void) { return "/"; }
const char *swift_getRootPath(void) { return "/"; }
char *swift_copyAuxiliaryExecutablePath(const char *name) {
    (void)name;
    return NULL;
}

static char **arguments;

char **escra_arguments(void) { return arguments; }

__attribute__((constructor)) static void keep_arguments(int argc, char **argv) {
    arguments = argv;
    _swift_stdlib_overrideUnsafeArgvArgc(argv, argc);
}

// SPDX-License-Identifier: Apache-2.0
// What .NET sees of its limits: a line of JSON at once, and one for each line of its input.
//
//   report-dotnet DIRECTORY      where libcoreclr.so and System.Private.CoreLib.dll are
//
// It calls the runtime's own properties through its hosting functions, so that no compiler of C#
// is needed.
#include <dlfcn.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

typedef int (*initialize)(const char *, const char *, int, const char **, const char **, void **,
                          unsigned *);
typedef int (*create)(void *, unsigned, const char *, const char *, const char *, void **);

// System.GCMemoryInfo of .NET Core 3.1.
struct memory {
  int64_t threshold, load, available, heap, fragmented;
};

static void *host;
static unsigned domain;
static create delegate;

static void *method(const char *type, const char *name) {
  void *found = NULL;
  int status = delegate(host, domain, "System.Private.CoreLib", type, name, &found);
  if (status < 0) {
    fprintf(stderr, "report-dotnet: no %s.%s: 0x%08x\n", type, name, (unsigned)status);
    exit(1);
  }
  return found;
}

int main(int argc, char **argv) {
  char library[PATH_MAX], core[PATH_MAX], line[64];
  if (argc != 2) return 2;
  snprintf(library, sizeof library, "%s/libcoreclr.so", argv[1]);
  snprintf(core, sizeof core, "%s/System.Private.CoreLib.dll", argv[1]);
  void *loaded = dlopen(library, RTLD_NOW);
  if (!loaded) {
    fprintf(stderr, "report-dotnet: %s\n", dlerror());
    return 1;
  }
  initialize start = (initialize)dlsym(loaded, "coreclr_initialize");
  delegate = (create)dlsym(loaded, "coreclr_create_delegate");
  const char *keys[] = {"TRUSTED_PLATFORM_ASSEMBLIES", "System.Globalization.Invariant"};
  const char *values[] = {core, "true"};
  int status = start(argv[0], "report", 2, keys, values, &host, &domain);
  if (status < 0) {
    fprintf(stderr, "report-dotnet: cannot start: 0x%08x\n", (unsigned)status);
    return 1;
  }
  int (*processors)(void) = (int (*)(void))method("System.Environment", "get_ProcessorCount");
  struct memory (*memory)(void) = (struct memory (*)(void))method("System.GC", "GetGCMemoryInfo");
  do {
    struct memory found = memory();
    printf("{\"ProcessorCount\": %d, \"TotalAvailableMemoryBytes\": %lld, "
           "\"HighMemoryLoadThresholdBytes\": %lld}\n",
           processors(), (long long)found.available, (long long)found.threshold);
    fflush(stdout);
  } while (fgets(line, sizeof line, stdin));
  // Its threads are not waited for.
  _Exit(0);
}

// SPDX-License-Identifier: Apache-2.0
// The least a resident process can cost: a static C program that sleeps until its parent dies.
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

int main(void) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  for (;;) pause();
}

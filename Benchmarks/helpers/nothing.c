// SPDX-License-Identifier: Apache-2.0
// Takes the place of a low-level runtime that has nothing to do.
int main(void) { return 0; }

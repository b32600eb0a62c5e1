// SPDX-License-Identifier: Apache-2.0

/// The values of a memory limit, in bytes.
package enum MemoryLimit {
  /// From here on a limit of cgroup v1 is none: the kernel counts whole pages up to 2^63
  /// (mm/page_counter.c, PAGE_COUNTER_MAX).
  package static let unlimited = Int64.max - 65_535
}

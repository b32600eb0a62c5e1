// SPDX-License-Identifier: Apache-2.0
package import Quantities

/// The first limits of a group around a container's own, as far as they are less than the most that
/// the container may have.
package struct FirstLimits: Equatable, Sendable {
  /// The CPU limit; nil for none.
  package var cpu: CFSBandwidth?
  /// The memory limit in bytes; nil for none.
  package var memory: Int64?
  /// What memory and swap together are limited to under that limit, on cgroup v1; nil for none.
  package var swap: Int64?
  /// The most that the memory limit may ever be, in bytes; nil for none.
  package var mostMemory: Int64?

  /// No limits.
  package init() {}
}

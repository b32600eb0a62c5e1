// SPDX-License-Identifier: Apache-2.0
package import Quantities

/// The CPUs that a strict container holds, what it asked for, and where it is found: part of its
/// state file.
///
/// There is no other ledger: the states of all strict containers record which CPUs each holds,
/// read and written under the lock of ``CPURegistry``.
package struct CPUAllocation: Equatable, Sendable {
  /// The CPUs that no other container may run on; for the moment of an update the old ones and the
  /// new ones.
  package var held: CPUSet
  /// What it asked for; an update changes a part of it.
  package var asked: CPURequest
  /// The memory nodes it was given; nil where they were left alone.
  package var nodes: CPUSet?
  /// Its group, from the root of the cpuset hierarchy: where it is expected, then where it is.
  package var group: String
  /// The inode of ``group``, once it is there: the same path may be another container's one day.
  package var inode: UInt64?

  /// Makes the claim of a container that is about to be created.
  package init(held: CPUSet, asked: CPURequest, group: String, nodes: CPUSet? = nil) {
    self.held = held
    self.asked = asked
    self.group = group
    self.nodes = nodes
  }

  package init?(_ keyed: KeyValueText) {
    guard let held = keyed["cpus"].flatMap({ CPUSet(list: $0) }), let group = keyed["cpusetGroup"]
    else { return nil }
    let asked = CPURequest(
      count: keyed[int: "cpusAsked"].map { Int($0) },
      set: keyed["cpusAskedOf"].flatMap { CPUSet(list: $0) })
    self.init(
      held: held, asked: asked, group: group, nodes: keyed["mems"].flatMap { CPUSet(list: $0) })
    inode = keyed["cpusetInode"].flatMap { UInt64($0) }
  }

  package func write(to keyed: inout KeyValueText) {
    keyed["cpus"] = held.description
    keyed[int: "cpusAsked"] = asked.count.map { Int64($0) }
    keyed["cpusAskedOf"] = asked.set?.description
    keyed["mems"] = nodes?.description
    keyed["cpusetGroup"] = group
    keyed["cpusetInode"] = inode.map { "\($0)" }
  }
}

/// The CPUs that a container asks for: how many, which, or how many of which.
package struct CPURequest: Equatable, Sendable {
  /// How many; nil for all of ``set``.
  package var count: Int?
  /// Which, or where to take them from; nil for anywhere.
  package var set: CPUSet?

  /// Makes a reservation from its parts.
  package init(count: Int? = nil, set: CPUSet? = nil) {
    self.count = count
    self.set = set
  }

  /// What the allocator is asked; nil for a reservation of nothing.
  package var request: CPUAllocator.Request? {
    switch (count, set) {
    case (let count?, let set?): .count(count, within: set)
    case (let count?, nil): .count(count)
    case (nil, let set?): .exactly(set)
    case (nil, nil): nil
    }
  }
}

// SPDX-License-Identifier: Apache-2.0

/// The CPUs that a strict container holds, and where it is found: part of its state file.
///
/// There is no other ledger: who holds which CPUs is what the states of all strict containers say,
/// read and written under the lock of ``CPURegistry``.
public struct CPUClaim: Equatable, Sendable {
  /// The CPUs nobody else may run on. For the moment of an update, the old ones and the new ones.
  public var held: CPUSet
  /// The memory nodes it was given; nil where they were left alone.
  public var nodes: CPUSet?
  /// Its group, from the root of the cpuset hierarchy; nil until it has been found.
  public var group: String?
  /// The inode of ``group``: the same path may be another container's one day.
  public var inode: UInt64?

  /// Makes the claim of a container that is about to be created.
  public init(held: CPUSet, nodes: CPUSet? = nil) {
    self.held = held
    self.nodes = nodes
  }

  init?(_ keyed: KeyedText) {
    guard let held = keyed["cpus"].flatMap({ CPUSet(list: $0) }) else { return nil }
    self.init(held: held, nodes: keyed["mems"].flatMap { CPUSet(list: $0) })
    group = keyed["cpusetGroup"]
    inode = keyed["cpusetInode"].flatMap { UInt64($0) }
  }

  func write(to keyed: inout KeyedText) {
    keyed["cpus"] = held.description
    keyed["mems"] = nodes?.description
    keyed["cpusetGroup"] = group
    keyed["cpusetInode"] = inode.map { "\($0)" }
  }
}

// SPDX-License-Identifier: Apache-2.0

/// The online CPUs of a machine, and how they lie together.
package struct CPUTopology: Equatable, Sendable {
  /// The hardware threads of one core: SMT siblings, which share all of its units.
  package struct Core: Equatable, Sendable {
    /// The siblings that are online; at least one.
    package let cpus: CPUSet
    /// The package (socket) it is in: physical_package_id.
    package let package: Int32
    /// The NUMA node it is in.
    package let node: Int32

    /// Makes a core.
    package init(cpus: CPUSet, package: Int32 = 0, node: Int32 = 0) {
      self.cpus = cpus
      self.package = package
      self.node = node
    }
  }

  /// All cores with a CPU that is online, by their lowest CPU; each CPU is in one.
  package let cores: [Core]
  /// The CPUs that are online.
  package let online: CPUSet
  /// MemFree of each NUMA node in bytes, those without memory and those without CPUs included.
  package let freeMemory: [Int32: Int64]

  /// Makes a topology; a machine without NUMA has node 0.
  package init(cores: [Core], freeMemory: [Int32: Int64] = [0: 0]) {
    self.cores = cores
    online = cores.reduce(CPUSet()) { $0.union($1.cpus) }
    self.freeMemory = freeMemory
  }

  /// The NUMA nodes that CPUs are in.
  package func nodes(of cpus: CPUSet) -> CPUSet {
    CPUSet(cores.filter { !$0.cpus.isDisjoint(with: cpus) }.map(\.node))
  }

  /// The NUMA nodes whose memory goes with CPUs, when it is enough.
  ///
  /// - Parameters:
  ///   - cpus: The CPUs.
  ///   - declaredMemory: What their container declares, in bytes; nil for nothing.
  /// - Returns: Those of the CPUs' nodes that have memory; nil where cpuset.mems is better left
  ///   alone, because there is one node only, nothing is declared, or it might not fit.
  package func memoryNodes(for cpus: CPUSet, declaredMemory: Int64?) -> CPUSet? {
    guard freeMemory.count > 1, let declaredMemory else { return nil }
    // The kernel takes no node without memory into cpuset.mems.
    let nodes = nodes(of: cpus).cpus.filter { freeMemory[$0] ?? 0 > 0 }
    let free = nodes.reduce(0) { $0 + (freeMemory[$1] ?? 0) }
    return nodes.isEmpty || declaredMemory > free ? nil : CPUSet(nodes)
  }
}

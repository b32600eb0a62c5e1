// SPDX-License-Identifier: Apache-2.0
package import Quantities

extension CPUSet: ExpressibleByStringLiteral {
  /// A list in a table; one that is none fails where it stands.
  package init(stringLiteral list: String) {
    guard let set = CPUSet(list: list) else { fatalError("\(list) is no list of CPUs") }
    self = set
  }
}

/// Machines to allocate on.
package enum Topologies {
  private typealias Core = CPUTopology.Core

  /// Two cores.
  package static let two = CPUTopology(cores: [Core(cpus: "0"), Core(cpus: "1")])

  /// Four cores of two threads: CPU 4 is the sibling of CPU 0.
  package static let smt = CPUTopology(cores: (0..<4).map { Core(cpus: CPUSet([$0, $0 + 4])) })

  /// Two sockets of 16 cores of two threads, in four NUMA nodes:
  /// 0-7,32-39 and 8-15,40-47 in the one socket, 16-23,48-55 and 24-31,56-63 in the other.
  package static let server = CPUTopology(
    cores: (0..<32).map {
      Core(cpus: CPUSet([$0, $0 + 32]), package: $0 / 16, node: $0 / 8)
    }, freeMemory: [0: 8 << 30, 1: 8 << 30, 2: 4 << 30, 3: 2 << 30])

  /// ``smt`` with CPUs 3 and 5 offline.
  package static let offline = CPUTopology(
    cores: ["0,4", "1", "2,6", "7"].map { Core(cpus: $0) })

  /// As hot-plugged and virtual machines have it.
  package static let holes = CPUTopology(
    cores: [
      Core(cpus: "1"), Core(cpus: "4"), Core(cpus: "9", package: 3, node: 5),
      Core(cpus: "64", package: 3, node: 5), Core(cpus: "200", package: 3, node: 5),
    ], freeMemory: [0: 1 << 30, 5: 1 << 30])

  /// Two fast cores of two threads, four slow ones of one.
  package static let hybrid = CPUTopology(
    cores: ["0-1", "2-3", "4", "5", "6", "7"].map { Core(cpus: $0) })

  /// Two sockets of two cores, and one NUMA node: the firmware interleaves the memory.
  package static let interleaved = CPUTopology(
    cores: [0, 1, 2, 3].map { Core(cpus: CPUSet([$0]), package: $0 % 2) })

  /// Twelve sockets of a core in three NUMA nodes: what hypervisors like to show.
  package static let virtual = CPUTopology(
    cores: (0..<12).map { Core(cpus: CPUSet([$0]), package: $0, node: $0 / 4) },
    freeMemory: [0: 1 << 30, 1: 1 << 30, 2: 1 << 30])

  /// Nodes 1 and 3 have no memory, node 2 has no CPU.
  package static let memoryless = CPUTopology(
    cores: [Core(cpus: "0"), Core(cpus: "1", node: 1), Core(cpus: "2", node: 3)],
    freeMemory: [0: 1 << 30, 1: 0, 2: 1 << 30, 3: 0])

  /// All of them.
  package static let all = [
    two, smt, server, offline, holes, hybrid, interleaved, virtual, memoryless,
  ]
}

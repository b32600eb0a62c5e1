// SPDX-License-Identifier: Apache-2.0
import Glibc

@testable import Quantities

extension CPUSet: ExpressibleByStringLiteral {
  /// A list in a table; one that is none fails where it stands.
  public init(stringLiteral list: String) {
    guard let set = CPUSet(list: list) else { fatalError("\(list) is no list of CPUs") }
    self = set
  }
}

/// Machines to allocate on.
enum Topologies {
  private typealias Core = CPUTopology.Core

  static let two = CPUTopology(cores: [Core(cpus: "0"), Core(cpus: "1")])

  /// Four cores of two threads: CPU 4 is the sibling of CPU 0.
  static let smt = CPUTopology(cores: (0..<4).map { Core(cpus: CPUSet([$0, $0 + 4])) })

  /// Two sockets of 16 cores of two threads, in four NUMA nodes:
  /// 0-7,32-39 and 8-15,40-47 in the one socket, 16-23,48-55 and 24-31,56-63 in the other.
  static let server = CPUTopology(
    cores: (0..<32).map {
      Core(cpus: CPUSet([$0, $0 + 32]), package: $0 / 16, node: $0 / 8)
    }, freeMemory: [0: 8 << 30, 1: 8 << 30, 2: 4 << 30, 3: 2 << 30])

  /// ``smt`` with CPUs 3 and 5 offline.
  static let offline = CPUTopology(
    cores: ["0,4", "1", "2,6", "7"].map { Core(cpus: $0) })

  /// As hot-plugged and virtual machines have it.
  static let holes = CPUTopology(
    cores: [
      Core(cpus: "1"), Core(cpus: "4"), Core(cpus: "9", package: 3, node: 5),
      Core(cpus: "64", package: 3, node: 5), Core(cpus: "200", package: 3, node: 5),
    ], freeMemory: [0: 1 << 30, 5: 1 << 30])

  /// Two fast cores of two threads, four slow ones of one.
  static let hybrid = CPUTopology(
    cores: ["0-1", "2-3", "4", "5", "6", "7"].map { Core(cpus: $0) })

  /// Two sockets of two cores, and one NUMA node: the firmware interleaves the memory.
  static let interleaved = CPUTopology(
    cores: [0, 1, 2, 3].map { Core(cpus: CPUSet([$0]), package: $0 % 2) })

  /// Twelve sockets of a core in three NUMA nodes: what hypervisors like to show.
  static let virtual = CPUTopology(
    cores: (0..<12).map { Core(cpus: CPUSet([$0]), package: $0, node: $0 / 4) },
    freeMemory: [0: 1 << 30, 1: 1 << 30, 2: 1 << 30])

  /// Nodes 1 and 3 have no memory, node 2 has no CPU.
  static let memoryless = CPUTopology(
    cores: [Core(cpus: "0"), Core(cpus: "1", node: 1), Core(cpus: "2", node: 3)],
    freeMemory: [0: 1 << 30, 1: 0, 2: 1 << 30, 3: 0])

  static let all = [two, smt, server, offline, holes, hybrid, interleaved, virtual, memoryless]
}

extension TemporaryDirectory {
  /// Makes what /sys/devices/system shows of a machine.
  func lay(_ topology: CPUTopology) throws {
    try lay("cpu/online", "\(topology.online)")
    for core in topology.cores {
      for cpu in core.cpus.cpus {
        try lay("cpu/cpu\(cpu)/topology/physical_package_id", "\(core.package)")
        try lay("cpu/cpu\(cpu)/topology/core_cpus_list", "\(core.cpus)")
      }
    }
    try lay("node/online", "\(CPUSet(topology.freeMemory.keys))")
    for (node, free) in topology.freeMemory {
      let cpus = topology.cores.filter { $0.node == node }.reduce(CPUSet()) { $0.union($1.cpus) }
      try lay("node/node\(node)/cpulist", "\(cpus)")
      try lay(
        "node/node\(node)/meminfo",
        "Node \(node) MemTotal:       99999999 kB\nNode \(node) MemFree:  \(free / 1024) kB\n"
          + "Node \(node) MemUsed:         2080800 kB")
    }
  }

  /// Writes a line to a file, and makes the directories above it.
  func lay(_ name: String, _ line: String) throws {
    for end in name.indices where name[end] == "/" { mkdir("\(path)/\(name[..<end])", 0o700) }
    try write(line + "\n", to: name)
  }

  func remove(_ name: String) { unlink("\(path)/\(name)") }
}

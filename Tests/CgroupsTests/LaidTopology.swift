// SPDX-License-Identifier: Apache-2.0
import Glibc
import TestFiles
import TestValues

@testable import Quantities

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

// SPDX-License-Identifier: Apache-2.0
import TestFiles
import TestValues
import Testing

@testable import Cgroups
@testable import Quantities

@Suite struct CPUTopologyTests {
  @Test(arguments: Topologies.all)
  func `reads what sysfs shows`(topology: CPUTopology) throws {
    let directory = try TemporaryDirectory()
    try directory.lay(topology)
    #expect(CPUTopology(reading: directory.path) == topology)
  }

  @Test func `a CPU that is offline is in no core, whatever its siblings say`() throws {
    let directory = try TemporaryDirectory()
    try directory.lay(Topologies.smt)
    try directory.lay("cpu/online", "0-2,4,6-7")
    #expect(CPUTopology(reading: directory.path) == Topologies.offline)
  }

  @Test func `older kernels call siblings otherwise`() throws {
    let directory = try TemporaryDirectory()
    try directory.lay(Topologies.smt)
    for core in Topologies.smt.cores {
      for cpu in core.cpus.cpus {
        directory.remove("cpu/cpu\(cpu)/topology/core_cpus_list")
        try directory.lay("cpu/cpu\(cpu)/topology/thread_siblings_list", "\(core.cpus)")
      }
    }
    #expect(CPUTopology(reading: directory.path) == Topologies.smt)
  }

  @Test func `without topology and nodes every CPU is a core`() throws {
    let directory = try TemporaryDirectory()
    try directory.lay("cpu/online", "0-1")
    #expect(CPUTopology(reading: directory.path) == Topologies.two)
  }

  @Test func `without anything it is the machine's CPUs`() throws {
    let topology = CPUTopology(reading: "/nowhere")
    #expect(topology.online == CPUSet(Machine.onlineCPUs()))
    #expect(topology.cores.count == topology.online.count)
  }

  /// Firmware has bugs, and CPUs come and go while we read.
  @Test func `every CPU is in one core, whatever the siblings say`() throws {
    let directory = try TemporaryDirectory()
    try directory.lay("cpu/online", "0-4")
    for (cpu, siblings) in ["0-1", "1-2", "0-1", "4", "x"].enumerated() {
      try directory.lay("cpu/cpu\(cpu)/topology/core_cpus_list", siblings)
    }
    #expect(
      CPUTopology(reading: directory.path).cores.map(\.cpus) == ["0-1", "2", "3-4"])
  }

  @Test func `this machine has one`() {
    let topology = CPUTopology(reading: "/sys/devices/system")
    #expect(topology.online == CPUSet(Machine.onlineCPUs()))
    #expect(topology.cores.reduce(0) { $0 + $1.cpus.count } == topology.online.count)
    #expect(topology.cores.allSatisfy { topology.freeMemory.keys.contains($0.node) })
    #expect(topology.freeMemory.values.contains { $0 > 1 << 20 && $0 < 1 << 50 })
  }

  private static let nodes: [(CPUTopology, CPUSet, CPUSet)] = [
    (Topologies.server, "0-7", "0"), (Topologies.server, "7-8", "0-1"),
    (Topologies.server, "39,63", "0,3"), (Topologies.server, "", ""),
    (Topologies.holes, "200", "5"), (Topologies.holes, "1,200", "0,5"),
    (Topologies.two, "0-1,99", "0"),
  ]

  @Test(arguments: nodes)
  func `knows the nodes of CPUs`(topology: CPUTopology, cpus: CPUSet, nodes: CPUSet) {
    #expect(topology.nodes(of: cpus) == nodes)
  }

  private static let memory: [(CPUTopology, CPUSet, Int64?, CPUSet?)] = [
    (Topologies.server, "24-31", 2 << 30, "3"), (Topologies.server, "24-31", 2 << 30 + 1, nil),
    (Topologies.server, "24-31", nil, nil), (Topologies.server, "16,24", 6 << 30, "2-3"),
    (Topologies.server, "16,24", 6 << 30 + 1, nil), (Topologies.server, "", 1, nil),
    // One node is no choice.
    (Topologies.two, "0", 1, nil),
    // A node without memory is no place for any.
    (Topologies.memoryless, "1", 1, nil), (Topologies.memoryless, "1-2", 1, nil),
    (Topologies.memoryless, "0-1", 1, "0"),
  ]

  @Test(arguments: memory)
  func `memory goes with the CPUs where it fits`(
    topology: CPUTopology, cpus: CPUSet, declared: Int64?, nodes: CPUSet?
  ) {
    #expect(topology.memoryNodes(for: cpus, declaredMemory: declared) == nodes)
  }
}

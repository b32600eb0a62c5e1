// SPDX-License-Identifier: Apache-2.0
import TestValues
import Testing

@testable import CPUSets
@testable import Quantities

@Suite struct CPUAllocatorPropertyTests {
  /// Containers that come, change and go, as the registry would have them.
  private struct Node {
    let topology: CPUTopology
    var reserved = CPUSet()
    var held: [CPUSet] = []

    var taken: CPUSet { held.reduce(CPUSet()) { $0.union($1) } }
    var shared: CPUSet { topology.online.subtracting(taken) }
  }

  @Test(arguments: Topologies.all)
  func `whoever comes and goes, CPUs are one's own and one is left`(topology: CPUTopology) throws {
    var random = SeededGenerator(seed: 21)
    for _ in 0..<40 {
      var node = Node(topology: topology)
      if Bool.random(using: &random) { node.reserved = some(of: topology, &random) }
      for _ in 0..<30 { try step(&node, &random) }
    }
  }

  private func some(of topology: CPUTopology, _ random: inout SeededGenerator) -> CPUSet {
    let rarity = Int.random(in: 1...6, using: &random)
    return CPUSet(
      topology.online.cpus.filter { _ in Int.random(in: 0...rarity, using: &random) == 0 })
  }

  private func step(_ node: inout Node, _ random: inout SeededGenerator) throws {
    let leaving = node.held.indices.randomElement(using: &random)
    let current = leaving.map { node.held.remove(at: $0) }
    switch Int.random(in: 0...3, using: &random) {
    case 0: return
    case 1: try allocate(&node, current ?? CPUSet(), &random)
    default:
      if let current { node.held.append(current) }
      try allocate(&node, CPUSet(), &random)
    }
  }

  private func allocate(
    _ node: inout Node, _ current: CPUSet, _ random: inout SeededGenerator
  ) throws {
    let within = Int.random(in: 0...3, using: &random) == 0 ? some(of: node.topology, &random) : nil
    let allowed =
      Int.random(in: 0...3, using: &random) == 0
      ? some(of: node.topology, &random) : node.topology.online
    let most = Bool.random(using: &random) ? 4 : node.topology.online.count
    let count = Int.random(in: 1...most, using: &random)
    let asked = Allocation(
      topology: node.topology, request: .count(count, within: within), allowed: allowed,
      reserved: node.reserved, taken: node.taken, current: current)

    var free = node.shared.intersection(allowed).subtracting(node.reserved)
    if let within { free = free.intersection(within) }
    guard count <= free.count, count < node.shared.count else {
      #expect(throws: CPUAllocationError.self) { try asked.result() }
      if !current.isEmpty { node.held.append(current) }
      return
    }
    let cpus = try asked.result()
    try #require(cpus.count == count)
    try #require(cpus.isSubset(of: free))
    let kept = current.intersection(free)
    try #require(kept.isSubset(of: cpus) || cpus.isSubset(of: kept))
    if kept.isEmpty { try requireClose(cpus, free, node.topology) }
    node.held.append(cpus)
    try #require(!node.shared.isEmpty)
    try #require(node.held.reduce(0) { $0 + $1.count } == node.taken.count)
  }

  /// One node where one has so many; and whole cores, where a node can be had that way.
  private func requireClose(_ cpus: CPUSet, _ free: CPUSet, _ topology: CPUTopology) throws {
    let nodes = Dictionary(grouping: topology.cores, by: \.node).values
    let fitting = nodes.filter { count(free, $0) >= cpus.count }
    if fitting.isEmpty { return }
    try #require(nodes.filter { count(cpus, $0) > 0 }.count == 1)
    let cores = topology.cores.filter { !$0.cpus.isDisjoint(with: cpus) }
    let shared = cores.filter { !$0.cpus.isSubset(of: cpus) }
    let canBeWhole = fitting.contains { node in
      let whole = node.filter { $0.cpus.isSubset(of: free) }.map(\.cpus.count)
      return sums(of: whole).contains(cpus.count)
    }
    let canHaveOneThread = fitting.contains { node in
      let whole = node.filter { $0.cpus.isSubset(of: free) }.map(\.cpus.count)
      return sums(of: whole).contains(cpus.count - 1)
    }
    if canBeWhole { try #require(shared.isEmpty) }
    if canHaveOneThread { try #require(shared.count <= 1) }
    let isBroken = { (core: CPUTopology.Core) in !core.cpus.isSubset(of: free) }
    let couldSpare = fitting.contains { node in
      node.contains { isBroken($0) && !$0.cpus.isDisjoint(with: free) }
        && sums(of: node.filter { !isBroken($0) }.map(\.cpus.count)).contains(cpus.count - 1)
    }
    if !canBeWhole && couldSpare { try #require(shared.allSatisfy(isBroken)) }
  }

  private func count(_ cpus: CPUSet, _ cores: [CPUTopology.Core]) -> Int {
    cores.reduce(0) { $0 + $1.cpus.intersection(cpus).count }
  }

  /// All numbers of CPUs that some of the cores have together.
  private func sums(of counts: [Int]) -> Set<Int> {
    counts.reduce(into: [0]) { sums, count in sums.formUnion(sums.map { $0 + count }) }
  }
}

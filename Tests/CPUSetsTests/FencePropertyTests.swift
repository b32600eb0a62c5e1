// SPDX-License-Identifier: Apache-2.0
import TestValues
import Testing

@testable import CPUSets
@testable import Quantities

/// A node on which containers and operators do what they like; strict ones come and go.
private struct Node {
  typealias Group = CpusetKernel.Group

  var kernel: CpusetKernel
  var random: SeededGenerator
  var holders: [StrictOwner] = []
  var neighbours: [Neighbour] = []
  /// What each group would have without strict containers, by inode.
  var wanted: [UInt64: CPUSet] = [:]

  init(cpus: CPUSet, seed: UInt64) {
    kernel = CpusetKernel(cpus: cpus)
    random = SeededGenerator(seed: seed)
    wanted[kernel.root.inode] = cpus
    kernel.root.hasProcesses = true
  }

  // MARK: what is so

  var shared: CPUSet { holders.reduce(kernel.root.cpus) { $0.subtracting($1.cpus) } }

  func isHolders(_ group: Group) -> Bool {
    ([group] + group.ancestors).contains { ours in
      holders.contains { $0.path == ours.path && ($0.inode ?? ours.inode) == ours.inode }
    }
  }

  /// Whether a holder's group is below a group, or will be.
  func isAboveHolder(_ group: Group) -> Bool {
    group.all.contains(where: isHolders)
      || holders.contains {
        $0.inode == nil && $0.path.utf8.starts(with: "\(group.path)/".utf8)
      }
  }

  var others: [Group] { kernel.root.all.filter { $0 !== kernel.root && !isHolders($0) } }

  func wants(_ group: Group?) -> CPUSet { group.flatMap { wanted[$0.inode] } ?? "" }

  mutating func some(of cpus: CPUSet) -> CPUSet {
    CPUSet(cpus.cpus.filter { _ in Bool.random(using: &random) })
  }

  /// All of it, for who looks at a failure.
  var picture: String {
    let tree = kernel.root.all.map { group in
      "\(group.path) \(group.inode) \(group.cpus) (wants \(wants(group)))"
        + (group.hasProcesses ? " *" : "")
    }
    return (tree + holders.map { "\($0)" } + neighbours.map { "\($0)" }).joined(separator: "\n")
  }

  // MARK: what the fence does

  mutating func settle() throws {
    let plan = CpusetPlanV1.plan(
      groups: kernel.snapshot, holders: holders, neighbours: neighbours)
    let refused = kernel.carryOut(plan.writes)
    try #require(refused == nil, "\(picture)")
    neighbours = plan.neighbours
    let again = CpusetPlanV1.plan(groups: kernel.snapshot, holders: holders, neighbours: neighbours)
    try #require(again.writes == [], "\(picture)")
    neighbours = again.neighbours
    if shared.isEmpty { return }
    let own = kernel.root.cpus.subtracting(shared)
    for group in others where group.hasProcesses && !isAboveHolder(group) {
      try #require(group.cpus.isDisjoint(with: own), "\(group.path) has \(group.cpus)")
      try #require(!group.cpus.isEmpty)
    }
  }

  // MARK: what the others do

  /// Engines copy the parent's set or write a part of it.
  mutating func makeGroup() throws {
    guard let parent = ([kernel.root] + others).randomElement(using: &random),
      parent.ancestors.count < 4, !parent.cpus.isEmpty
    else { return }
    let group = kernel.make(in: parent)
    if Bool.random(using: &random) { try settle() }
    let own = some(of: parent.cpus.intersection(wants(parent)))
    if own.isEmpty || own == parent.cpus || Bool.random(using: &random) {
      try #require(group.write(parent.cpus))
      wanted[group.inode] = wants(parent)
    } else {
      try #require(group.write(own))
      wanted[group.inode] = own
    }
    group.hasProcesses = Bool.random(using: &random)
  }

  /// An operator writes, within what the groups around it want.
  mutating func writeSet() {
    guard let group = others.filter({ !$0.cpus.isEmpty }).randomElement(using: &random) else {
      return
    }
    let below = group.children.reduce(CPUSet()) { $0.union(wants($1)).union($1.cpus) }
    let cpus = some(of: group.parent?.cpus ?? "").intersection(wants(group.parent)).union(below)
    if cpus.isEmpty || cpus == group.cpus || !cpus.isSubset(of: wants(group.parent)) { return }
    if group.write(cpus) { wanted[group.inode] = cpus }
  }

  mutating func moveProcesses() {
    guard let group = others.filter({ !$0.cpus.isEmpty }).randomElement(using: &random) else {
      return
    }
    group.hasProcesses.toggle()
  }

  mutating func removeGroup() {
    others.filter { $0.children.isEmpty }.randomElement(using: &random)?.remove()
  }

  // MARK: what strict containers do

  mutating func startStrict() throws {
    let places = ([kernel.root] + others).filter { place in
      !place.cpus.isEmpty && place.ancestors.count < 3
        && (place === kernel.root || !([place] + place.ancestors).contains(where: \.hasProcesses))
    }
    guard let parent = places.randomElement(using: &random) else { return }
    let cpus = some(of: parent.cpus.intersection(shared))
    if cpus.isEmpty || shared.isSubset(of: cpus) { return }
    let name = "s\(random.next())"
    holders.append(
      StrictOwner(cpus: cpus, path: parent === kernel.root ? "/\(name)" : "\(parent.path)/\(name)"))
    try settle()
    let group = kernel.make(name, in: parent)
    if Bool.random(using: &random) { try settle() }
    try #require(group.write(cpus), "\(group.path) cannot have \(cpus)")
    group.hasProcesses = true
    wanted[group.inode] = cpus
    if Bool.random(using: &random) { try settle() }
    holders[holders.count - 1].inode = group.inode
    if Bool.random(using: &random) {
      let inner = kernel.make("inner", in: group)
      try #require(inner.write(cpus))
      wanted[inner.inode] = cpus
      inner.hasProcesses = true
    }
  }

  /// As an update does it: both sets, then the group, then the new one.
  mutating func updateStrict() throws {
    guard let index = holders.indices.randomElement(using: &random),
      let group = kernel.root.all.first(where: { $0.inode == holders[index].inode }),
      group.children.isEmpty
    else { return }
    let before = holders[index].cpus
    let after = some(of: (group.parent?.cpus ?? "").intersection(shared.union(before)))
    if after.isEmpty || shared.union(before).isSubset(of: after) { return }
    if !shared.isSubset(of: after) {
      holders[index].cpus = before.union(after)
      try settle()
    }
    try #require(group.write(after))
    wanted[group.inode] = after
    holders[index].cpus = after
  }

  mutating func endStrict() {
    guard let index = holders.indices.randomElement(using: &random) else { return }
    let holder = holders.remove(at: index)
    guard let group = kernel.root.all.first(where: { $0.inode == holder.inode }) else { return }
    // A container whose supervisor gave it up goes on among the others.
    let isGivenUp = Int.random(in: 0...3, using: &random) == 0
    if !isGivenUp || !group.cpus.isSubset(of: wants(group.parent)) { group.remove() }
  }

  // MARK: what happens to all of them, in good order and without any

  mutating func step() throws {
    switch Int.random(in: 0...15, using: &random) {
    case 0...4: try makeGroup()
    case 5...6: writeSet()
    case 7...8: moveProcesses()
    case 9: removeGroup()
    case 10...12: try startStrict()
    case 13: try updateStrict()
    default: endStrict()
    }
  }

  mutating func disturb() {
    guard let group = kernel.root.all.randomElement(using: &random) else { return }
    switch Int.random(in: 0...15, using: &random) {
    case 0...4:
      let made = kernel.make(in: group)
      if made.write(some(of: group.cpus)), !made.cpus.isEmpty {
        made.hasProcesses = Bool.random(using: &random)
      }
    case 5...8: if group !== kernel.root { _ = group.write(some(of: kernel.root.cpus)) }
    case 9...10: if !group.cpus.isEmpty { group.hasProcesses.toggle() }
    case 11: group.remove()
    case 12: neighbours.removeAll { _ in Bool.random(using: &random) }
    case 13: if !holders.isEmpty { holders.removeFirst() }
    default:
      let isFound = Bool.random(using: &random)
      holders.append(
        StrictOwner(
          cpus: some(of: kernel.root.cpus), path: group.path, inode: isFound ? group.inode : nil))
    }
  }
}

@Suite struct FencePropertyTests {
  @Test(arguments: ["0-1", "0-3", "0-7,64,70-71"] as [CPUSet])
  func `everybody keeps off, no write is refused, and all have what they want at the end`(
    cpus: CPUSet
  ) throws {
    for seed in 0..<30 {
      var node = Node(cpus: cpus, seed: UInt64(seed))
      for _ in 0..<40 {
        try node.step()
        try node.settle()
      }
      while !node.holders.isEmpty { node.endStrict() }
      try node.settle()
      try #require(node.neighbours == [])
      for group in node.kernel.root.all {
        try #require(group.cpus == node.wants(group), "\(group.path), seed \(seed)")
      }
    }
  }

  /// Whatever comes of it, nobody is left on a CPU that is not theirs, and nothing is stuck.
  @Test(arguments: ["0-1", "0-3", "0-7,64,70-71"] as [CPUSet])
  func `whatever anybody does, no write is refused`(cpus: CPUSet) throws {
    for seed in 0..<30 {
      var node = Node(cpus: cpus, seed: UInt64(seed))
      for _ in 0..<20 {
        for _ in 0..<Int.random(in: 1...4, using: &node.random) { node.disturb() }
        try node.settle()
      }
      node.holders = []
      try node.settle()
      try #require(node.neighbours == [])
    }
  }
}

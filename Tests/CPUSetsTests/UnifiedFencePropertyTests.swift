// SPDX-License-Identifier: Apache-2.0
import TestValues
import Testing

@testable import CPUSets
@testable import Quantities

/// A node on which others do what they like; strict containers come and go.
private struct Play {
  typealias Group = UnifiedKernel.Group

  var node: UnifiedNode
  var random: SeededGenerator
  /// What each group would have without strict containers, by inode.
  var wanted: [UInt64: CPUSet] = [:]

  init(cpus: CPUSet, seed: UInt64) {
    node = UnifiedNode(cpus: cpus)
    random = SeededGenerator(seed: seed)
    node.kernel.hasPartitions = seed % 4 != 0
  }

  var root: Group { node.kernel.root }
  var shared: CPUSet { node.holders.reduce(root.cpus) { $0.subtracting($1.cpus) } }

  func isHolders(_ group: Group) -> Bool {
    ([group] + group.ancestors).contains { ours in
      node.holders.contains { $0.has(path: ours.path, inode: ours.inode) }
    }
  }
  var others: [Group] { root.all.filter { $0 !== root && !isHolders($0) } }

  mutating func some(of cpus: CPUSet) -> CPUSet {
    CPUSet(cpus.cpus.filter { _ in Bool.random(using: &random) })
  }

  mutating func makeGroup() {
    guard let parent = ([root] + others).randomElement(using: &random),
      parent.ancestors.count < 3, !parent.hasProcesses
    else { return }
    let group = node.kernel.make(in: parent)
    let cpus = Bool.random(using: &random) ? CPUSet() : some(of: root.cpus)
    guard node.kernel.write(cpus, to: group) else { return }
    wanted[group.inode] = cpus
    group.hasProcesses = Bool.random(using: &random)
  }

  mutating func writeSet() {
    guard let group = others.randomElement(using: &random) else { return }
    let cpus = some(of: root.cpus)
    // Whoever writes just what is there says nothing new.
    if cpus == group.cpus { return }
    if node.kernel.write(cpus, to: group) { wanted[group.inode] = cpus }
  }

  func mayHave(_ cpus: CPUSet, in parent: Group) -> Bool {
    let above = parent === root ? [] : [parent] + parent.ancestors
    return above.allSatisfy { $0.cpus.isEmpty || cpus.isSubset(of: $0.cpus) }
  }

  mutating func startStrict() throws {
    let cpus = some(of: shared)
    let places = ([root] + others).filter { !$0.hasProcesses && $0.ancestors.count < 3 }
    guard let parent = places.randomElement(using: &random), !cpus.isEmpty,
      !shared.isSubset(of: cpus), mayHave(cpus, in: parent)
    else { return }
    let name = "s\(random.next())"
    node.holders.append(
      StrictOwner(cpus: cpus, path: parent === root ? "/\(name)" : "\(parent.path)/\(name)"))
    try settle()
    let group = node.kernel.make(name, in: parent)
    if Bool.random(using: &random) { try settle() }
    try #require(node.kernel.write(cpus, to: group))
    group.hasProcesses = true
    wanted[group.inode] = cpus
    if Int.random(in: 0..<5, using: &random) == 0 { node.kernel.refused.insert(group.inode) }
    try settle()
    node.holders[node.holders.count - 1].inode = group.inode
  }

  mutating func updateStrict() {
    guard let index = node.holders.indices.randomElement(using: &random),
      let group = root.all.first(where: { $0.inode == node.holders[index].inode })
    else { return }
    let cpus = some(of: shared.union(node.holders[index].cpus))
    if cpus.isEmpty || shared.isSubset(of: cpus) || !mayHave(cpus, in: group.parent ?? root) {
      return
    }
    if node.kernel.write(cpus, to: group) {
      node.holders[index].cpus = cpus
      wanted[group.inode] = cpus
    }
  }

  mutating func endStrict() {
    guard let index = node.holders.indices.randomElement(using: &random) else { return }
    let holder = node.holders.remove(at: index)
    guard let group = root.all.first(where: { $0.inode == holder.inode }) else { return }
    if Int.random(in: 0..<4, using: &random) > 0 { group.remove() }
  }

  mutating func step() throws {
    switch Int.random(in: 0...12, using: &random) {
    case 0...3: makeGroup()
    case 4...5: writeSet()
    case 6: others.filter { $0.children.isEmpty }.randomElement(using: &random)?.remove()
    case 7...9: try startStrict()
    case 10: updateStrict()
    default: endStrict()
    }
  }

  mutating func settle() throws {
    try node.settle()
    // A partition is made when there is a group for it.
    let made = node.holders.filter { holder in
      !node.kernel.hasPartitions
        || root.all.contains { holder.has(path: $0.path, inode: $0.inode) }
    }
    let shared = made.reduce(root.cpus) { $0.subtracting($1.cpus) }
    if self.shared.isEmpty { return }
    for group in others where group.children.isEmpty && !isAboveHolder(group) {
      let cpus = node.kernel.effective(group)
      try #require(
        !cpus.isEmpty && cpus.isSubset(of: shared), "\(group.path) may use \(cpus)\n\(picture)")
    }
  }

  func isAboveHolder(_ group: Group) -> Bool {
    node.holders.contains { $0.inode == nil && $0.path.isGroup(below: group.path) }
  }

  var picture: String {
    let tree = root.all.map {
      "\($0.path) \($0.inode) \($0.cpus) x\($0.exclusive) \($0.partition)"
        + ($0.hasProcesses ? " *" : "")
    }
    return (tree + node.holders.map { "\($0)" }).joined(separator: "\n")
  }
}

@Suite struct UnifiedFencePropertyTests {
  @Test(arguments: ["0-1", "0-3", "0-7,64,70-71"] as [CPUSet])
  func `everybody keeps off, no CPU is lost, and all have what they want at the end`(
    cpus: CPUSet
  ) throws {
    for seed in 0..<60 {
      var play = Play(cpus: cpus, seed: UInt64(seed))
      for _ in 0..<40 {
        try play.step()
        try play.settle()
      }
      while !play.node.holders.isEmpty { play.endStrict() }
      try play.settle()
      #expect(play.node.neighbours == [] && play.node.lent == [:], "seed \(seed)")
      for group in play.root.all where group !== play.root {
        let wanted = play.wanted[group.inode] ?? CPUSet()
        let isSame = group.cpus == wanted || wanted.isEmpty && group.cpus == play.root.cpus
        try #require(isSame, "\(group.path), seed \(seed)\n\(play.picture)")
        try #require(group.exclusive.isEmpty && group.partition == .member, "\(play.picture)")
      }
    }
  }
}

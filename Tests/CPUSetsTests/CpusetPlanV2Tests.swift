// SPDX-License-Identifier: Apache-2.0
import TestValues
import Testing

@testable import CPUSets
@testable import Quantities

/// A tree of cgroup v2, and what is remembered of it.
struct UnifiedNode {
  var kernel: UnifiedKernel
  var holders: [StrictOwner] = []
  var neighbours: [Neighbour] = []
  var lent: [UInt64: CPUSet] = [:]
  var refused: Set<UInt64> = []

  init(cpus: CPUSet) { kernel = UnifiedKernel(cpus: cpus) }

  /// Makes a tree of lines such as "/docker/a 0-3 *": "-" is for no set, the star for processes.
  init(_ cpus: CPUSet = "0-3", _ lines: String...) throws {
    self.init(cpus: cpus)
    for line in lines { try make(line) }
  }

  mutating func make(_ line: String) throws {
    let words = line.split(separator: " ")
    let names = words[0].split(separator: "/")
    let above = names.dropLast().map { "/\($0)" }.joined()
    let parent = try #require(kernel[above.isEmpty ? "/" : above])
    let group = kernel.make(String(try #require(names.last)), in: parent)
    let cpus = words[1] == "-" ? CPUSet() : try #require(CPUSet(list: String(words[1])))
    try #require(kernel.write(cpus, to: group))
    group.hasProcesses = words.count > 2
  }

  mutating func hold(_ line: String) throws {
    try make(line)
    let words = line.split(separator: " ")
    let group = try #require(kernel[String(words[0])])
    holders.append(StrictOwner(cpus: group.cpus, path: group.path, inode: group.inode))
  }

  mutating func end(_ path: String, isRemoved: Bool = true) {
    holders.removeAll { $0.path == path }
    if isRemoved { kernel[path]?.remove() }
  }

  func write(_ path: String, _ cpus: CPUSet) throws {
    try #require(kernel.write(cpus, to: try #require(kernel[path])))
  }

  var plan: UnifiedPlan {
    CpusetPlanV2.plan(
      groups: kernel.snapshot, holders: holders, neighbours: neighbours, lent: lent,
      refused: refused)
  }

  /// As the fence does it, with every "root" read back.
  mutating func settle() throws {
    for _ in 0..<8 {
      let plan = plan
      neighbours = plan.neighbours
      lent = plan.lent
      if plan.writes.isEmpty { return }
      for write in plan.writes {
        try #require(kernel.carryOut(write), "\(write) of \(plan.writes)")
        if write.value == .partition(isRoot: true), let group = kernel[write.path],
          group.partition != .root
        {
          refused.insert(group.inode)
          try #require(
            kernel.carryOut(UnifiedWrite(path: group.path, value: .partition(isRoot: false))))
        }
      }
      try #require(!kernel.hasLostCPUs)
    }
    Issue.record("it never comes to rest: \(plan.writes)")
  }

  func cpus(_ path: String) -> CPUSet? { kernel[path]?.cpus }
  func effective(_ path: String) -> CPUSet? { kernel[path].map { kernel.effective($0) } }
  func partition(_ path: String) -> CpusetPartition? { kernel[path]?.partition }
  func exclusive(_ path: String) -> CPUSet? { kernel[path]?.exclusive }
}

@Suite struct UnifiedFenceTests {
  @Test func `who has no set of its own follows the kernel`() throws {
    var node = try UnifiedNode("0-3", "/a - *", "/b -", "/b/c - *")
    try node.hold("/b/s 3 *")
    try node.settle()
    #expect(["/a", "/b", "/b/c"].map(node.cpus) == ["", "", ""])
    #expect(["/", "/a", "/b/c", "/b/s"].map(node.effective) == ["0-2", "0-2", "0-2", "3"])
    #expect(node.partition("/b/s") == .root)
    #expect(node.neighbours == [])
    node.end("/b/s")
    try node.settle()
    #expect(node.effective("/a") == "0-3")
    #expect(node.exclusive("/b") == "" && node.lent == [:])
  }

  @Test func `who has one beside it keeps off and comes back`() throws {
    var node = try UnifiedNode("0-3", "/a 2-3 *", "/p -", "/p/b 3 *", "/p/c 0-1 *")
    try node.hold("/p/s 3 *")
    try node.settle()
    #expect(["/a", "/p/b", "/p/c"].map(node.cpus) == ["2", "0-2", "0-1"])
    #expect(node.partition("/p/s") == .root)
    node.end("/p/s")
    try node.settle()
    #expect(["/a", "/p/b", "/p/c"].map(node.cpus) == ["2-3", "3", "0-1"])
    #expect(node.neighbours == [])
  }

  /// What the group above may not use, the one below may not use either.
  @Test func `below who keeps off nobody is written`() throws {
    var node = try UnifiedNode("0-3", "/a 1-3", "/a/b 3 *", "/a/c 2-3 *")
    try node.hold("/s 3 *")
    try node.settle()
    #expect(["/a", "/a/b", "/a/c"].map(node.cpus) == ["1-2", "3", "2-3"])
    #expect(["/a/b", "/a/c"].map(node.effective) == ["1-2", "2"])
  }

  @Test func `an intruder is put off, and the partition made again by way of member`() throws {
    var node = try UnifiedNode("0-3", "/a - *")
    try node.hold("/s 3 *")
    try node.settle()
    try node.write("/a", "2-3")
    #expect(node.partition("/s") == .invalid)
    #expect(
      node.plan.writes == [
        UnifiedWrite(path: "/s", value: .partition(isRoot: false)),
        UnifiedWrite(path: "/a", value: .cpus("2")),
        UnifiedWrite(path: "/s", value: .partition(isRoot: true)),
      ])
    try node.settle()
    #expect(node.partition("/s") == .root)
    node.end("/s")
    try node.settle()
    #expect(node.cpus("/a") == "2-3")
  }

  @Test(arguments: [true, false])
  func `somebody else's partition is left alone and named in nobody's set`(isRefused: Bool) throws {
    var node = try UnifiedNode("0-3", "/op - *", "/a 1 *", "/b - *")
    let stranger = try #require(node.kernel["/op"])
    for value in [UnifiedWrite.Value.exclusive("3"), .partition(isRoot: true)] {
      try #require(node.kernel.carryOut(UnifiedWrite(path: "/op", value: value)))
    }
    try #require(stranger.partition == .root)
    if isRefused { node.kernel.refused = [5] }
    try node.hold("/s 1 *")
    #expect(node.holders[0].inode == 5)
    try node.settle()
    #expect(node.partition("/s") == (isRefused ? .member : .root))
    #expect(stranger.partition == .root && stranger.exclusive == "3" && stranger.cpus == "")
    #expect(node.cpus("/a") == "0,2" && node.effective("/b") == "0,2")
    node.end("/s")
    try node.settle()
    #expect(stranger.partition == .root && stranger.exclusive == "3")
    #expect(node.cpus("/a") == "1" && node.effective("/b") == "0-2")
    try #require(node.kernel.carryOut(UnifiedWrite(path: "/op", value: .partition(isRoot: false))))
    try node.settle()
    #expect(node.effective("/b") == "0-3" && node.neighbours == [])
  }

  @Test(arguments: [true, false])
  func `where there is no partition those without a set get one`(isOldKernel: Bool) throws {
    var node = try UnifiedNode("0-3", "/a - *", "/b -", "/p -", "/p/c 2-3 *", "/a/d - *")
    node.kernel.hasPartitions = !isOldKernel
    node.kernel.refused = [7]
    try node.hold("/p/s 3 *")
    #expect(node.holders[0].inode == 7)
    try node.settle()
    #expect(["/a", "/b", "/p", "/p/c", "/a/d"].map(node.cpus) == ["0-2", "0-2", "", "2", ""])
    #expect(["/a", "/a/d", "/p/c"].map(node.effective) == ["0-2", "0-2", "2"])
    #expect(node.partition("/p/s") == .member && node.exclusive("/p") == "")
    node.end("/p/s")
    try node.settle()
    // The kernel takes no empty set for a group with processes.
    #expect(["/a", "/b", "/p", "/p/c"].map(node.cpus) == ["0-3", "", "", "2-3"])
    #expect(node.neighbours == [] && node.lent == [:])
  }

  @Test func `an old kernel's others keep off before the container is made`() throws {
    var node = try UnifiedNode("0-3", "/a - *", "/p -", "/p/b - *")
    node.kernel.hasPartitions = false
    node.holders = [StrictOwner(cpus: "3", path: "/p/s")]
    try node.settle()
    #expect(["/a", "/p", "/p/b"].map(node.cpus) == ["0-2", "", "0-2"])
  }

  @Test func `two of them are partitions side by side and one below the other's neighbour`() throws
  {
    var node = try UnifiedNode("0-5", "/p -", "/q 3-5", "/q/a 5 *")
    try node.hold("/p/s 1 *")
    try node.hold("/p/t 2 *")
    try node.settle()
    try node.hold("/q/u 3 *")
    try node.settle()
    #expect(["/p/s", "/p/t", "/q/u"].map(node.partition) == [.root, .root, .root])
    #expect(["/p", "/q"].map(node.exclusive) == ["1-2", "3"])
    #expect(["/", "/p", "/q/a"].map(node.effective) == ["0,4-5", "0,4-5", "5"])
    node.end("/p/s")
    try node.settle()
    #expect(node.exclusive("/p") == "2" && node.partition("/p/t") == .root)
  }

  @Test func `an update moves it`() throws {
    var node = try UnifiedNode("0-3", "/p -", "/p/a - *")
    try node.hold("/p/s 3 *")
    for cpus in ["2-3", "1-3", "1", "2-3"] as [CPUSet] {
      node.holders[0].cpus = cpus
      try node.settle()
      #expect(node.partition("/p/s") == .root && node.effective("/p/s") == cpus)
      #expect(node.exclusive("/p") == cpus)
    }
  }

  @Test func `one that is given up is a group like any other`() throws {
    var node = try UnifiedNode("0-3", "/p -", "/p/a - *")
    try node.hold("/p/s 3 *")
    try node.settle()
    node.end("/p/s", isRemoved: false)
    try node.settle()
    #expect(node.partition("/p/s") == .member && node.exclusive("/p/s") == "")
    #expect(node.effective("/p/a") == "0-3" && node.cpus("/p/s") == "3")
  }

  @Test func `an operator's own partition is left alone`() throws {
    var node = try UnifiedNode("0-3", "/p -", "/p/a - *", "/p/mine 1 *")
    for path in ["/p", "/p/mine"] {
      try #require(node.kernel.carryOut(UnifiedWrite(path: path, value: .exclusive("1"))))
    }
    try #require(
      node.kernel.carryOut(UnifiedWrite(path: "/p/mine", value: .partition(isRoot: true))))
    try node.hold("/p/s 3 *")
    try node.settle()
    #expect(node.exclusive("/p") == "1,3")
    node.end("/p/s")
    try node.settle()
    #expect(node.exclusive("/p") == "1" && node.partition("/p/mine") == .root)
  }

  @Test func `a group above one with no other CPUs is given shared ones`() throws {
    var node = try UnifiedNode("0-3", "/p 3", "/p/a - *")
    try node.hold("/p/s 3 *")
    try node.settle()
    #expect(node.cpus("/p") == "0-3" && node.effective("/p/a") == "0-2")
    node.end("/p/s")
    try node.settle()
    #expect(node.cpus("/p") == "3" && node.effective("/p/a") == "3")
  }

  @Test func `a tree without a root forgets nothing`() {
    let neighbours = [Neighbour(inode: 3, declared: "1", applied: "0")]
    let plan = CpusetPlanV2.plan(groups: [], holders: [], neighbours: neighbours, lent: [4: "1"])
    #expect(plan == UnifiedPlan(writes: [], neighbours: neighbours, lent: [4: "1"]))
  }

  @Test(
    arguments: [
      ("member\n", .member), ("root\n", .root), ("isolated\n", .root), ("", .member),
      ("root invalid (Cpu list in cpuset.cpus not exclusive)\n", .invalid),
    ] as [(String, CpusetPartition)])
  func `reads what kind of partition it is`(
    text: String, partition: CpusetPartition
  ) {
    #expect(CpusetPartition(text) == partition)
  }
}

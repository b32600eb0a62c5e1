// SPDX-License-Identifier: Apache-2.0
import TestValues
import Testing

@testable import CPUSets
@testable import Quantities

/// A tree, and what is remembered of it.
private struct Node {
  var kernel: CpusetKernel
  var holders: [StrictOwner] = []
  var neighbours: [Neighbour] = []

  /// Makes a tree of lines such as "/docker/a 0-3 *", where the star is for processes.
  init(_ cpus: CPUSet = "0-3", _ lines: String...) throws {
    kernel = CpusetKernel(cpus: cpus)
    for line in lines { try make(line) }
  }

  mutating func make(_ line: String) throws {
    let words = line.split(separator: " ")
    let names = words[0].split(separator: "/")
    let above = names.dropLast().map { "/\($0)" }.joined()
    let parent = try #require(kernel[above.isEmpty ? "/" : above])
    let group = kernel.make(String(try #require(names.last)), in: parent)
    try #require(group.write(try #require(CPUSet(list: String(words[1])))))
    group.hasProcesses = words.count > 2
  }

  /// Makes a strict container's group, and says so to the fence.
  mutating func hold(_ line: String) throws {
    try make(line)
    let words = line.split(separator: " ")
    let group = try #require(kernel[String(words[0])])
    holders.append(StrictOwner(cpus: group.cpus, path: group.path, inode: group.inode))
  }

  mutating func end(_ path: String) {
    holders.removeAll { $0.path == path }
    kernel[path]?.remove()
  }

  /// What the operator writes.
  func write(_ path: String, _ cpus: CPUSet) throws {
    let group = try #require(kernel[path])
    try #require(group.write(cpus))
  }

  mutating func settle() throws {
    let plan = CpusetPlanV1.plan(groups: kernel.snapshot, holders: holders, neighbours: neighbours)
    try #require(kernel.carryOut(plan.writes) == nil)
    let again = CpusetPlanV1.plan(
      groups: kernel.snapshot, holders: holders, neighbours: plan.neighbours)
    try #require(again.writes == [])
    neighbours = again.neighbours
  }

  func cpus(_ path: String) -> CPUSet? { kernel[path]?.cpus }
}

@Suite struct FenceTests {
  @Test func `who was there keeps off and comes back`() throws {
    var node = try Node("0-3", "/a 0-3 *", "/b 2-3 *", "/c 0 *")
    try node.hold("/s 3 *")
    try node.settle()
    #expect([node.cpus("/a"), node.cpus("/b"), node.cpus("/c")] == ["0-2", "2", "0"])
    #expect(node.cpus("/s") == "3")
    node.end("/s")
    try node.settle()
    #expect([node.cpus("/a"), node.cpus("/b"), node.cpus("/c")] == ["0-3", "2-3", "0"])
    #expect(node.neighbours == [])
  }

  @Test func `whose CPUs are all taken gets the shared ones`() throws {
    var node = try Node("0-3", "/a 3 *", "/b 0-3 *", "/b/c 3 *")
    try node.hold("/s 2-3 *")
    try node.settle()
    #expect([node.cpus("/a"), node.cpus("/b"), node.cpus("/b/c")] == ["0-1", "0-1", "0-1"])
    node.end("/s")
    try node.settle()
    #expect([node.cpus("/a"), node.cpus("/b"), node.cpus("/b/c")] == ["3", "0-3", "3"])
  }

  @Test func `a group without processes stays wide for what is made in it`() throws {
    var node = try Node("0-3", "/docker 0-3", "/docker/a 0-3 *", "/empty 2-3", "/empty/x 3")
    try node.hold("/docker/s 3 *")
    try node.settle()
    #expect([node.cpus("/docker"), node.cpus("/docker/a")] == ["0-3", "0-2"])
    #expect([node.cpus("/empty"), node.cpus("/empty/x")] == ["2-3", "3"])
  }

  @Test func `below a group with processes all keep off`() throws {
    var node = try Node("0-3", "/a 0-3 *", "/a/b 0-3", "/a/b/c 1-3", "/a/b/c/d 3")
    try node.hold("/s 3 *")
    try node.settle()
    #expect(["/a", "/a/b", "/a/b/c", "/a/b/c/d"].map(node.cpus) == ["0-2", "0-2", "1-2", "1-2"])
    node.end("/s")
    try node.settle()
    #expect(["/a", "/a/b", "/a/b/c", "/a/b/c/d"].map(node.cpus) == ["0-3", "0-3", "1-3", "3"])
  }

  @Test func `a holder's group, what is below and what is above it are left alone`() throws {
    var node = try Node("0-3", "/a 0-3 *", "/a/b 1-3")
    try node.hold("/a/b/s 2-3 *")
    try node.make("/a/b/s/inner 3 *")
    try node.settle()
    #expect(["/a", "/a/b", "/a/b/s", "/a/b/s/inner"].map(node.cpus) == ["0-3", "1-3", "2-3", "3"])
  }

  @Test func `a group above gets shared CPUs for who has to keep off in it`() throws {
    var node = try Node("0-3", "/p 3", "/p/q 3", "/p/q/a 3 *", "/p/e 3")
    try node.hold("/s 3 *")
    try node.settle()
    #expect(["/p", "/p/q", "/p/q/a", "/p/e"].map(node.cpus) == ["0-3", "0-3", "0-2", "3"])
    node.end("/s")
    try node.settle()
    #expect(["/p", "/p/q", "/p/q/a", "/p/e"].map(node.cpus) == ["3", "3", "3", "3"])
    #expect(node.neighbours == [])
  }

  @Test func `who asks for a shared CPU in a group that was widened keeps it meanwhile`() throws {
    var node = try Node("0-3", "/p 3", "/p/a 3 *")
    try node.hold("/s 3 *")
    try node.settle()
    try node.make("/p/b 0 *")
    try node.settle()
    #expect(node.cpus("/p/b") == "0")
    node.end("/s")
    try node.settle()
    #expect(node.cpus("/p/b") == "3")
  }

  @Test func `before its group is found a holder is known by its path`() throws {
    var node = try Node("0-3", "/x 0-3", "/x/abc 3 *", "/x/abc/in 3 *", "/x/abcd 3 *", "/abc 3 *")
    node.holders = [StrictOwner(cpus: "3", path: "/x/abc")]
    try node.settle()
    #expect(["/x/abc", "/x/abc/in", "/x/abcd", "/abc"].map(node.cpus) == ["3", "3", "0-2", "0-2"])
  }

  @Test func `room is left for a group that is still to be made`() throws {
    var node = try Node("0-3", "/p 3", "/p/a 3 *", "/q 0-3 *")
    try node.hold("/s 3 *")
    try node.settle()
    node.holders += [StrictOwner(cpus: "2", path: "/p/t"), StrictOwner(cpus: "1", path: "/q/u")]
    try node.settle()
    #expect(["/p", "/p/a", "/q"].map(node.cpus) == ["0,2-3", "0", "0-3"])
    try node.make("/p/t 2 *")
    try node.make("/q/u 1 *")
    try node.settle()
    #expect(["/p/t", "/q/u"].map(node.cpus) == ["2", "1"])
  }

  @Test func `a group above is not widened beyond what its owner wrote`() throws {
    var node = try Node("0-3", "/p 0-1", "/q 3", "/q/r 3 *")
    node.holders = [StrictOwner(cpus: "2-3", path: "/p/t"), StrictOwner(cpus: "3", path: "/q/r/t")]
    try node.settle()
    #expect(["/p", "/q", "/q/r"].map(node.cpus) == ["0-1", "3", "3"])
  }

  @Test func `who was above a group that has gone keeps off`() throws {
    var node = try Node("0-3", "/p 0-3 *")
    try node.hold("/p/s 3 *")
    try node.settle()
    #expect(node.cpus("/p") == "0-3")
    node.kernel["/p/s"]?.remove()
    try node.settle()
    #expect(node.cpus("/p") == "0-2")
  }

  @Test func `room is left for what an update adds`() throws {
    var node = try Node("0-3", "/p 3", "/p/a 3 *")
    try node.hold("/s 3 *")
    try node.settle()
    try node.hold("/p/t 2 *")
    try node.settle()
    node.holders[1].cpus = "1-2"
    try node.settle()
    #expect(["/p", "/p/a"].map(node.cpus) == ["0-3", "0"])
  }

  @Test func `another group of the same path is no holder's`() throws {
    var node = try Node()
    try node.hold("/s 3 *")
    node.kernel["/s"]?.remove()
    try node.make("/s 3 *")
    try node.settle()
    #expect(node.cpus("/s") == "0-2")
  }

  @Test func `a newcomer's copy of its parent's set is no wish`() throws {
    var node = try Node("0-3", "/a 0-3 *", "/a/old 0-2 *")
    try node.hold("/s 3 *")
    try node.settle()
    try node.make("/a/copy 0-2 *")
    try node.make("/a/copy/copy 0-2")
    try node.make("/a/wish 0-1 *")
    try node.settle()
    node.end("/s")
    try node.settle()
    #expect(
      ["/a/copy", "/a/copy/copy", "/a/wish", "/a/old"].map(node.cpus)
        == ["0-3", "0-3", "0-1", "0-2"])
  }

  @Test func `a group that has no set yet is left to who makes it`() throws {
    var node = try Node("0-3", "/a 0-3 *")
    try node.hold("/s 3 *")
    let made = node.kernel.make("new", in: try #require(node.kernel["/a"]))
    try node.settle()
    #expect(made.cpus == "" && !node.neighbours.contains { $0.inode == made.inode })
    try node.write("/a/new", "0-2")
    try node.settle()
    node.end("/s")
    try node.settle()
    #expect(made.cpus == "0-3")
  }

  @Test func `what somebody writes meanwhile is what the group declares`() throws {
    var node = try Node("0-3", "/a 0-3 *", "/b 0-3 *")
    try node.hold("/s 3 *")
    try node.settle()
    try node.write("/a", "2-3")
    try node.write("/b", "0-1")
    try node.settle()
    #expect([node.cpus("/a"), node.cpus("/b")] == ["2", "0-1"])
    node.end("/s")
    try node.settle()
    #expect([node.cpus("/a"), node.cpus("/b")] == ["2-3", "0-1"])
  }

  @Test func `a CPU that goes offline is nobody's write`() throws {
    var node = try Node("0-3", "/a 0-3 *")
    try node.hold("/s 3 *")
    try node.settle()
    for path in ["/", "/a"] { node.kernel[path]?.cpus = path == "/" ? "0,2-3" : "0,2" }
    try node.settle()
    node.end("/s")
    try node.settle()
    #expect(node.cpus("/a") == "0,2-3")
  }

  @Test func `when all that was shared has gone offline everybody shares`() throws {
    var node = try Node("0-3", "/a 0-3 *")
    try node.hold("/s 2-3 *")
    try node.settle()
    for path in ["/", "/a"] { node.kernel[path]?.cpus = path == "/" ? "2-3" : "2" }
    try node.settle()
    #expect(node.cpus("/a") == "2")
  }

  @Test func `what cannot be seen is not forgotten`() {
    let neighbours = [Neighbour(inode: 7, declared: "0-3", applied: "0-2")]
    let plan = CpusetPlanV1.plan(groups: [], holders: [], neighbours: neighbours)
    #expect(plan == FencePlan(writes: [], neighbours: neighbours))
  }

  /// The kernel would refuse a child with more than its parent, and a parent with less than its
  /// child.
  @Test func `first wider from the root down, then narrower from the leaves up`() throws {
    var node = try Node("0-3", "/a 0-3 *", "/a/b 3 *")
    try node.hold("/s 3 *")
    let plan = CpusetPlanV1.plan(
      groups: node.kernel.snapshot, holders: node.holders, neighbours: [])
    #expect(
      plan.writes == [
        FenceWrite(path: "/a/b", cpus: "0-3"), FenceWrite(path: "/a/b", cpus: "0-2"),
        FenceWrite(path: "/a", cpus: "0-2"),
      ])
  }
}

// SPDX-License-Identifier: Apache-2.0
import TestFiles
import Testing

@testable import Cgroups
@testable import OCISpec
@testable import Quantities
@testable import Syscalls

private func request(_ path: String?, isSystemds: Bool = false) -> GroupPlan.Request {
  GroupPlan.Request(
    hidesLimits: true, movesCPU: true, movesMemory: true, isUnified: true, isRoot: true,
    cgroup: CgroupsPath(path, id: "web", isSystemds: isSystemds))
}

private func outer(_ path: String?, isSystemds: Bool = false) -> OuterGroup? {
  let request = request(path, isSystemds: isSystemds)
  guard case .two(let group) = GroupPlan(request, root: "/r", id: "web") else { return nil }
  return group
}

@Suite struct OuterGroupTests {
  private let hash = SHA256.digits(of: "/r\0web")

  @Test(arguments: [
    ("/docker/web", "/docker", "web"), ("/web", "", "web"), ("//a//b/", "/a", "b"),
    ("/a/b c", "/a", "b c"),
  ])
  func `it is put before the last part of the path`(path: String, parent: String, inner: String) {
    let group = outer(path)
    #expect(group?.path == parent + "/escra" + hash)
    #expect(group?.name == "escra" + hash)
    #expect(group?.cgroupsPath == parent + "/escra" + hash + "/" + inner)
  }

  @Test(arguments: [
    ("system.slice:docker:web", "/system.slice/system-", "docker-web.scope"),
    (":docker:web", "/system.slice/system-", "docker-web.scope"),
    ("a-b.slice::web", "/a.slice/a-b.slice/a-b-", "web.scope"),
    ("-.slice:runc:web", "/", "runc-web.scope"),
    (
      "kubepods-burstable-pod1_2.slice:cri-containerd:web",
      "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice/"
        + "kubepods-burstable-pod1_2-", "cri-containerd-web.scope"
    ),
  ])
  func `a scope of systemd's is put into a slice`(text: String, place: String, inner: String) {
    let group = outer(text, isSystemds: true)
    #expect(group?.path == place + "escra" + hash + ".slice")
    #expect(group?.inner == inner)
    let prefix = place.split(separator: "/").last.map { $0.hasSuffix("-") ? String($0) : "" } ?? ""
    #expect(group?.kind == .slice(prefix + "escra" + hash + ".slice"))
    let rest = text.drop { $0 != ":" }
    #expect(group?.cgroupsPath == "\(prefix)escra\(hash).slice" + rest)
  }

  @Test(
    arguments: [
      nil, "a.slice:x:b.slice", "a.service:x:web", "a--b.slice:x:web",
      String(repeating: "s", count: 190) + ".slice:x:web",
    ] as [String?])
  func `what is no scope in a slice has one group`(text: String?) {
    let request = request(text, isSystemds: true)
    guard case .one(let reason) = GroupPlan(request, root: "/r", id: "web") else {
      Issue.record("two groups")
      return
    }
    #expect(reason != nil)
  }

  @Test func `its name depends on the root and the id alone`() {
    func name(_ root: String, _ id: String) -> String? {
      guard case .two(let group) = GroupPlan(request("/x/y"), root: root, id: id) else {
        return nil
      }
      return group.name
    }
    #expect(name("/r", "web") == name("/r", "web"))
    #expect(name("/r", "web") != name("/r2", "web"))
    #expect(name("/r", "web") != name("/r", "web2"))
  }

  @Test(arguments: [nil, "/", "/a/../b", "/a/./b"] as [String?])
  func `a path that depends on more than itself is left alone, with a reason`(path: String?) {
    guard case .one(let reason) = GroupPlan(request(path), root: "/r", id: "web") else {
      Issue.record("two groups")
      return
    }
    #expect(reason != nil)
  }

  @Test func `other containers have one group, which needs no reason`() {
    let conditions: [WritableKeyPath<GroupPlan.Request, Bool>] = [
      \.hidesLimits, \.isRoot,
    ]
    for condition in conditions {
      var request = request("/a/b")
      request[keyPath: condition].toggle()
      #expect(GroupPlan(request, root: "/r", id: "web") == .one(because: nil))
    }
  }

  @Test(arguments: [(true, true, true), (true, false, false), (false, true, false)])
  func `a strict container has two groups on cgroup v2 if its memory limit moves`(
    isUnified: Bool, movesMemory: Bool, hasTwo: Bool
  ) {
    var request = request("/a/web")
    (request.movesCPU, request.movesMemory, request.isUnified) = (false, movesMemory, isUnified)
    let plan = GroupPlan(request, root: "/r", id: "web")
    #expect((plan != .one(because: nil)) == hasTwo)
  }

  // MARK: what is written around a container's own group

  @Test(arguments: [
    (20_000 as Int64?, "20000 100000", 20_000 as Int64?), (50_000, "max 100000  ", 50_000),
    (90_000, "max 100000  ", 50_000), (nil, "max 100000  ", 50_000),
  ])
  func `no CPU limit is written that the container's own has`(
    quota: Int64?, written: String, read: Int64?
  ) throws {
    let outer = try TemporaryDirectory()
    let inner = try TemporaryDirectory()
    try outer.write("30000 100000", to: "cpu.max")
    try inner.write("50000 100000", to: "cpu.max")
    var writer = try CgroupWriter(
      directory: try outer.opened(), version: .v2, readOnly: false, around: inner.path)
    #expect(try writer.inner() == CFSBandwidth(quota: 50_000))
    try writer.set(CFSBandwidth(quota: quota), from: try writer.current())
    #expect(try outer.read("cpu.max").hasPrefix(written.prefix(10)))
    #expect(try inner.read("cpu.max") == "50000 100000")
    if written.hasPrefix("max") { try outer.write("max 100000", to: "cpu.max") }
    #expect(try writer.current() == CFSBandwidth(quota: read))
  }

  @Test func `a member's own group that has less for a moment leaves its limit in the outer one`()
    throws
  {
    let outer = try TemporaryDirectory()
    let inner = try TemporaryDirectory()
    try outer.write("30000 100000", to: "cpu.max")
    try inner.write("20000 100000", to: "cpu.max")
    try outer.write("300000000", to: "memory.max")
    try outer.write("max", to: "memory.high")
    try inner.write("200000000", to: "memory.max")
    var writer = try CgroupWriter(
      directory: try outer.opened(), version: .v2, readOnly: false, around: inner.path)
    writer.application = 1_000_000_000
    try writer.set(CFSBandwidth(quota: 50_000), from: try writer.current())
    #expect(try outer.read("cpu.max") == "50000 100000")
    var memory = try MemoryWriter(
      directory: outer.path, version: .v2, readOnly: false, around: inner.path)
    memory.application = 1 << 30
    try memory.set(400_000_000, swap: nil) { 0 }
    #expect(try outer.read("memory.max") == "400000000")
  }

  @Test func `what is in force stays so when the container's own limit is raised`() throws {
    let outer = try TemporaryDirectory()
    let inner = try TemporaryDirectory()
    try outer.write("max 100000", to: "cpu.max")
    try inner.write("30000 100000", to: "cpu.max")
    let writer = try CgroupWriter(
      directory: try outer.opened(), version: .v2, readOnly: false, around: inner.path)
    try writer.raiseInner(to: CFSBandwidth(quota: 60_000))
    #expect(try outer.read("cpu.max").hasPrefix("30000 100000"))
    #expect(try inner.read("cpu.max").hasPrefix("60000 100000"))
    try outer.write("max", to: "memory.max")
    try outer.write("max", to: "memory.high")
    try inner.write("300000000", to: "memory.max")
    let memory = try MemoryWriter(
      directory: outer.path, version: .v2, readOnly: false, around: inner.path)
    try memory.raiseInner(to: 600_000_000)
    #expect(try outer.read("memory.max") == "300000000")
    #expect(try inner.read("memory.max") == "600000000")
  }

  @Test func `its burst is that of the container's own`() throws {
    let outer = try TemporaryDirectory()
    let inner = try TemporaryDirectory()
    for directory in [outer, inner] { try directory.write("50000 100000", to: "cpu.max") }
    try outer.write("00000", to: "cpu.max.burst")
    try inner.write("40000", to: "cpu.max.burst")
    var writer = try CgroupWriter(
      directory: try outer.opened(), version: .v2, readOnly: false, around: inner.path)
    for (quota, burst) in [(10_000, "10000"), (45_000, "40000"), (20_000, "20000")] {
      try writer.set(CFSBandwidth(quota: Int64(quota)), from: try writer.current())
      #expect(try outer.read("cpu.max.burst") == burst)
    }
  }

  @Test func `where programs can read it, memory.max stays unlimited and memory.high moves`() throws
  {
    let outer = try TemporaryDirectory()
    let inner = try TemporaryDirectory()
    try outer.write("100000000", to: "memory.max")
    try outer.write("max\n", to: "memory.high")
    try inner.write("300000000", to: "memory.max")
    let writer = try MemoryWriter(
      directory: outer.path, version: .v2, readOnly: false, around: inner.path, isLine: true)
    #expect(try writer.current() == 100_000_000)
    try writer.set(150_000_000, line: 140_000_000, swap: nil) { 0 }
    #expect(try outer.read("memory.high") == "150000000")
    #expect(try outer.read("memory.max").hasPrefix("max"))
    try outer.write("max", to: "memory.max")
    #expect(try writer.current() == 150_000_000)
    #expect(try writer.line() == MemoryLimit.unlimited)
    // Refused below what is used, and then as it was.
    #expect(throws: SystemError.self) { try writer.set(120_000_000, swap: nil) { 130_000_000 } }
    #expect(try writer.current() == 150_000_000)
    try writer.set(300_000_000, swap: nil) { 0 }
    #expect(try outer.read("memory.high").hasPrefix("max"))
  }

  @Test func `no memory limit is written that the container's own has`() throws {
    let outer = try TemporaryDirectory()
    let inner = try TemporaryDirectory()
    try outer.write("100000000", to: "memory.max")
    try outer.write("max", to: "memory.high")
    try inner.write("500000000", to: "memory.max")
    let writer = try MemoryWriter(
      directory: outer.path, version: .v2, readOnly: false, around: inner.path)
    try writer.set(300_000_000, swap: nil) { () throws(SystemError) in 0 }
    #expect(try outer.read("memory.max") == "300000000")
    #expect(try writer.current() == 300_000_000)
    try writer.set(500_000_000, swap: nil) { () throws(SystemError) in 0 }
    #expect(try outer.read("memory.max").hasPrefix("max"))
    try outer.write("max", to: "memory.max")
    #expect(try writer.current() == 500_000_000)
    #expect(try writer.inner() == 500_000_000)
  }
}

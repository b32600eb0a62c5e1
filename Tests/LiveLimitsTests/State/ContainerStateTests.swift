// SPDX-License-Identifier: Apache-2.0
import TestFiles
import TestValues
import Testing

@testable import CPUSets
@testable import Cgroups
@testable import Control
@testable import LiveLimits
@testable import OCISpec
@testable import Quantities
@testable import State
@testable import Syscalls

private func claim(_ random: inout SeededGenerator) -> CPUAllocation {
  func set() -> CPUSet { CPUSet((0..<80).filter { _ in Bool.random(using: &random) }) }
  func maybe<Value>(_ value: Value) -> Value? { Bool.random(using: &random) ? value : nil }
  var claim = CPUAllocation(
    held: set(),
    asked: CPURequest(count: maybe(.random(in: 1...512, using: &random)), set: maybe(set())),
    group: random.text(), nodes: maybe(set()))
  claim.inode = maybe(random.next())
  return claim
}

/// A state of random values, each optional one there or not.
private func state(_ random: inout SeededGenerator) -> ContainerState {
  func maybe<Value>(_ value: Value) -> Value? { Bool.random(using: &random) ? value : nil }
  func process() -> ProcessIdentity {
    ProcessIdentity(
      pid: .random(in: 1 ... .max, using: &random), startTicks: abs(random.number() / 2))
  }
  var state = ContainerState(
    root: random.text(), id: random.text(), bundle: random.text(),
    policy: PolicyName.allCases.randomElement(using: &random) ?? .strict,
    runtime: process(), pidFile: random.text(),
    base: CPUBase(
      declared: CFSBandwidth(
        quota: maybe(random.number()), period: .random(in: 1 ... .max, using: &random)),
      floor: random.number(), explicitCeiling: maybe(random.number()), limit: random.number()))
  state.law = maybe(random.text())
  state.app = maybe(random.text())
  state.config = maybe(random.text())
  state.phase = Bool.random(using: &random) ? .starting : .running
  state.stalePidFile = maybe(
    FileStatus.Identity(device: random.next(), inode: random.next()))
  state.stalePidFileModified = state.stalePidFile == nil ? nil : maybe(random.number())
  state.cgroupName = maybe(random.text())
  state.cgroupPath = maybe(random.text())
  state.groups = maybe(random.text())
  state.unsupervised = maybe(random.text())
  state.initProcess = maybe(process())
  state.supervisor = maybe(process())
  state.source = maybe(random.text())
  state.memorySource = maybe(random.text())
  state.cpuDirectory = maybe(random.text())
  state.cpuInode = maybe(random.next())
  state.usageDirectory = maybe(random.text())
  state.memoryDirectory = maybe(random.text())
  state.version = maybe(Bool.random(using: &random) ? .v1 : .v2)
  state.declaredMemory = maybe(random.number())
  state.readyTicks = random.number()
  state.claim = maybe(claim(&random))
  state.membership = maybe(
    ApplicationMembership(
      application: random.text(), user: .random(in: 0 ... .max, using: &random),
      root: random.text(), namespace: maybe(random.text()),
      priority: .random(in: -1000...1000, using: &random), cpu: maybe(random.number()),
      memory: maybe(random.number())))
  return state
}

@Suite struct ContainerStateTests {
  @Test func `equal names of applications are one only for the same user, root and namespace`() {
    func room(_ user: UInt32, _ root: String, _ namespace: String?) -> String {
      ApplicationMembership(
        application: "shop", user: user, root: root, namespace: namespace, priority: 0, cpu: nil,
        memory: nil
      ).room
    }
    let rooms = [
      room(0, "/a", nil), room(1, "/a", nil), room(0, "/b", nil), room(0, "/a", "x"),
      room(0, "/a", ""),
    ]
    #expect(Set(rooms).count == rooms.count)
    #expect(room(0, "/a", nil) == rooms[0])
  }

  @Test func `an application that spans nodes is the same for every user and root`() {
    func membership(_ user: UInt32, _ root: String, _ isCluster: Bool) -> ApplicationMembership {
      ApplicationMembership(
        application: "shop", user: user, root: root, namespace: "prod",
        isClusterScoped: isCluster, priority: 0, cpu: nil, memory: nil)
    }
    #expect(membership(0, "/a", true).room == membership(1, "/b", true).room)
    #expect(membership(0, "/a", true).room != membership(0, "/a", false).room)
    #expect(membership(0, "/a", true).isClusterScoped)
    #expect(membership(0, "/a", true).namespace == "prod")
  }

  /// A name that somebody has looked for, so that it has the FNV-1a hash of the other one.
  private static let name = "djv-vx3gdfa.9wy4sgxv9msdddv-2txvy-7h-s6msg20t6qk"

  private static func membership(_ name: String, _ namespace: String) -> ApplicationMembership {
    ApplicationMembership(
      application: name, user: 0, root: "/run/attack-runc-a", namespace: namespace, priority: 0,
      cpu: nil, memory: nil)
  }

  @Test func `a name that was made to collide has a directory of its own`() {
    let (one, other) = (Self.membership("shop", "prod"), Self.membership(Self.name, "evil"))
    let hashes = [one, other].map { membership in
      var hash = FNV1a()
      hash.add(membership.name.utf8)
      return hash.value
    }
    #expect(hashes[0] == hashes[1], "it does what it was made for")
    #expect(one.room != other.room)
    #expect(one.room.utf8.count == 64)
  }

  @Test func `an application whose members an earlier version has started stays one`() throws {
    let directory = try TemporaryDirectory()
    let root = StateRoot(path: directory.path)
    var (one, other) = (Self.membership("shop", "prod"), Self.membership(Self.name, "evil"))
    let room = one.room
    one.joinEarlierVersion(root)
    #expect(one.room == room, "nobody is there")
    var hash = FNV1a()
    hash.add(one.name.utf8)
    #expect(
      try ApplicationDirectory(making: root.applications + "/" + hash.digits).isNamed(one.name))
    one.joinEarlierVersion(root)
    other.joinEarlierVersion(root)
    #expect(one.room == hash.digits)
    #expect(other.room != one.room, "it is another application's")
  }

  private static let plain = ContainerState(
    root: "/run/runc", id: "web", bundle: "/bundles/web", policy: .reactive,
    runtime: ProcessIdentity(pid: 812, startTicks: 4711), pidFile: "/run/web.pid",
    base: CPUBase(
      declared: CFSBandwidth(quota: 150_000), floor: 50_000_000, explicitCeiling: nil,
      limit: 2_000_000_000))

  @Test func `any state reads back`() throws {
    var random = SeededGenerator(seed: 7)
    for _ in 0..<1000 {
      let state = state(&random)
      let read = ContainerState(text: state.text)
      try #require(read == state)
      // Equal as bytes too, not only as what Swift calls equal strings.
      try #require(read?.text.utf8.elementsEqual(state.text.utf8) == true)
    }
  }

  @Test func `a state that breaks off is none`() {
    var random = SeededGenerator(seed: 8)
    for state in [Self.plain, state(&random)] {
      let bytes = Array(state.text.utf8)
      // Only the last newline may be missing: nothing is lost with it.
      for count in 0..<bytes.count - 1 {
        #expect(ContainerState(text: String(decoding: bytes.prefix(count), as: UTF8.self)) == nil)
      }
    }
  }

  @Test func `names that a later version adds are passed over`() {
    #expect(ContainerState(text: "colour=blue\n" + Self.plain.text + "zeal=1\n") == Self.plain)
  }

  @Test(arguments: [
    "version", "root", "id", "bundle", "policy", "runtime", "pidFile", "phase", "ready", "floor",
    "limit", "declaredPeriod",
  ])
  func `what must be there must be there`(name: String) {
    let lines = Self.plain.text.split(separator: "\n")
    let left = lines.filter { !$0.utf8.starts(with: "\(name)=".utf8) }
    #expect(left.count == lines.count - 1)
    #expect(ContainerState(text: left.joined(separator: "\n")) == nil)
  }

  @Test(arguments: [
    "version=2", "phase=later", "phase=", "runtime=812", "runtime=@", "ready=soon",
    "declaredPeriod=0", "declaredPeriod=-1", "floor=", "limit=all",
  ])
  func `a value that means nothing is as bad as none`(line: String) {
    #expect(ContainerState(text: Self.plain.text + line + "\n") == nil)
  }

  @Test func `a container that was found is running`() throws {
    var state = Self.plain
    let location = try #require(
      CgroupLocation(
        membership: "3:cpu:/a\n2:cpuacct:/b\n1:memory:/c\n",
        mounts: ["cpu", "cpuacct", "memory"].map { "1 2 3 / /\($0) rw - cgroup x \($0)" }
          .joined(separator: "\n")))
    state.complete(with: location, inode: 42, groups: "0::/a\n")
    #expect(state.phase == .running)
    #expect(state.cpuDirectory == "/cpu/a")
    #expect(state.usageDirectory == "/cpuacct/b")
    #expect(state.memoryDirectory == "/memory/c")
    #expect(state.version == .v1)
    #expect(state.cpuInode == 42)
    #expect(state.groups == "0::/a\n")
  }

  @Test(arguments: [
    (expected: "/s/x-a.scope", found: "/s/x-a.scope/container", is: "/s/x-a.scope"),
    (expected: "/s/x-a.scope", found: "/s/x-a.scope", is: "/s/x-a.scope"),
    // Made elsewhere than expected.
    (expected: "/x-a.scope", found: "/s/x-a.scope/container", is: "/s/x-a.scope"),
    (expected: "/x", found: "/docker/x", is: "/docker/x"),
  ])
  func `CPUs are had by the group that was asked for, not by one that crun makes in it`(
    expected: String, found: String, is group: String
  ) throws {
    var state = Self.plain
    state.cgroupName = "x-a.scope"
    state.claim = CPUAllocation(held: CPUSet([1]), asked: CPURequest(count: 1), group: expected)
    let location = try #require(
      CgroupLocation(membership: "0::\(found)\n", mounts: "1 2 3 / /cg rw - cgroup2 x rw"))
    state.complete(with: location, inode: 42, groups: "0::/a\n")
    #expect(state.claim?.group == group)
    #expect(state.cpuDirectory == "/cg" + found)
  }

  @Test(arguments: ["x", "x.scope"])
  func `CPUs are had by the container's own group, not by the one around it`(
    inner: String
  ) throws {
    var state = Self.plain
    state.claim = CPUAllocation(
      held: CPUSet([1]), asked: CPURequest(count: 1), group: "/elsewhere")
    state.memory = MemoryBase(
      declared: 1 << 28, floor: 1 << 20, explicitCeiling: nil, limit: 1 << 30)
    (state.cgroupName, state.cgroupPath, state.innerName) = ("escra0", "/a/escra0", inner)
    state.takeFirstInner()
    // Programs see no CPU limit of a strict container.
    #expect(state.base.inner == nil)
    #expect(state.memory?.inner == 1 << 28)
    let location = try #require(
      CgroupLocation(membership: "0::/a/escra0\n", mounts: "1 2 3 / /cg rw - cgroup2 x rw"))
    state.complete(with: location, inode: 42, groups: "0::/a/escra0\n")
    #expect(state.claim?.group == "/a/escra0/" + inner)
    #expect(state.cpuDirectory == "/cg/a/escra0")
  }

  @Test func `what crun has in a scope in a group of ours gets its CPUs, too`() throws {
    let root = try TemporaryDirectory()
    for group in ["o", "o/x.scope", "o/x.scope/container"] {
      try StateDirectory.make("\(root.path)/\(group)")
      try root.write("1", to: "\(group)/cpuset.cpus")
    }
    var state = Self.plain
    (state.version, state.cpuDirectory, state.innerName) = (.v2, root.path + "/o", "x.scope")
    state.claim = CPUAllocation(held: CPUSet([1]), asked: CPURequest(count: 1), group: "/o/x.scope")
    try state.setCPUs(CPUSet([0]), in: CpusetTree(root: root.path, version: .v2))
    #expect(try root.read("o/cpuset.cpus") == "1")
    #expect(try root.read("o/x.scope/cpuset.cpus") == "0")
    #expect(try root.read("o/x.scope/container/cpuset.cpus") == "0")
    #expect(state.ownDirectory == root.path + "/o/x.scope/container")
  }

  @Test(arguments: ["1", ""])
  func `each group of a container that has a set gets its CPUs`(inner: String) throws {
    let root = try TemporaryDirectory()
    for (group, text) in [("x.scope", "1"), ("x.scope/container", inner)] {
      try StateDirectory.make("\(root.path)/\(group)")
      try root.write(text, to: "\(group)/cpuset.cpus")
    }
    var state = Self.plain
    state.version = .v2
    state.cpuDirectory = root.path + "/x.scope/container"
    state.claim = CPUAllocation(held: CPUSet([1]), asked: CPURequest(count: 1), group: "/x.scope")
    let tree = CpusetTree(root: root.path, version: .v2)
    try state.setCPUs(CPUSet([0]), in: tree)
    #expect(try root.read("x.scope/cpuset.cpus") == "0")
    #expect(try root.read("x.scope/container/cpuset.cpus") == (inner.isEmpty ? "" : "0"))
    // One that shares them again follows its scope, which has less for as long as others need it.
    try state.setCPUs(CPUSet([1]), of: CPUSet([0, 1]), in: tree)
    #expect(try root.read("x.scope/cpuset.cpus") == "1")
    #expect(try root.read("x.scope/container/cpuset.cpus") == (inner.isEmpty ? "" : "0-1"))
  }

  @Test func `a new container has started no earlier than now`() {
    let before = ProcessIdentity.nowTicks()
    var state = Self.plain
    state = ContainerState(
      root: state.root, id: state.id, bundle: state.bundle, policy: state.policy,
      runtime: state.runtime, pidFile: state.pidFile, base: state.base)
    #expect(state.readyTicks >= before)
    #expect(state.readyTicks <= ProcessIdentity.nowTicks())
  }
}

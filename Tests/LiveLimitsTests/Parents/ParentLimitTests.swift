// SPDX-License-Identifier: Apache-2.0
import Glibc
import TestFiles
import TestValues
import Testing

@testable import Application
@testable import Control
@testable import LiveLimits
@testable import State
@testable import Syscalls

/// A pod's group with containers in it, as cgroup v1 has it: no child above its parent.
private final class Pod: ParentFile {
  var limit: ParentValue
  /// The containers' own limits, in microseconds of the same period.
  var children: [UInt64: Int64] = [:]
  let isV1: Bool
  var writes = 0
  /// Whoever writes next is killed: before the kernel has it, or behind.
  var death: Death?
  /// What the record was when that happened.
  private(set) var atDeath: [UInt8]?
  var record = ""

  enum Death: CaseIterable { case before, behind }

  init(_ quota: Int64, isV1: Bool) {
    limit = ParentValue(quota, scale: 100_000)
    self.isV1 = isV1
  }

  func read() throws(SystemError) -> ParentValue { limit }

  func write(_ value: ParentValue, over old: ParentValue) throws(SystemError) {
    writes += 1
    if isV1, let most = children.values.max(), let value = value.value, value < most {
      throw SystemError("write", "the quota", errno: EINVAL)
    }
    if death != .before { limit = value }
    if death != nil {
      // What whoever was killed does behind this is undone.
      atDeath = try FileDescriptor.open(record, O_RDONLY).readAll()
      throw SystemError("live", "on", errno: EAGAIN)
    }
  }

  /// Makes it as if nothing had been done since a death, if there was one.
  func bury() throws {
    if let bytes = atDeath {
      try FileDescriptor.open(record, O_WRONLY).write(bytes)
      atDeath = nil
    }
    death = nil
  }

  func setChild(_ nonce: UInt64, _ quota: Int64) throws(SystemError) {
    if isV1, let most = limit.value, quota > most {
      throw SystemError("write", "a child's quota", errno: EINVAL)
    }
    children[nonce] = quota
  }
}

/// What a supervisor does: up the parent first, down the child first.
private func move(
  _ parent: ParentLimit, _ pod: Pod, _ nonce: UInt64, to quota: Int64, declared: Int64,
  killedBehind end: Int = 3
) throws(SystemError) {
  let excess = max(0, quota - declared) * 10_000
  try parent.raise(to: excess)
  if end == 1 { return }
  try pod.setChild(nonce, quota)
  if end == 2 { return }
  parent.lower(to: excess)
}

@Suite struct ParentLimitTests {
  private let directory: TemporaryDirectory
  private let root: StateRoot

  init() throws {
    directory = try TemporaryDirectory()
    root = StateRoot(path: directory.path + "/run")
    mkdir(directory.path + "/pod", 0o700)
  }

  /// A container with an instance, registered.
  private func join(_ nonce: UInt64, _ pod: Pod) throws -> ParentLimit {
    for path in [root.path, root.containers, root.containers + "/key", instance(nonce)] {
      mkdir(path, 0o700)
    }
    let record = try ParentRegistry.register(
      ParentAccount.Hold(nonce: nonce), .cpu, path: directory.path + "/pod", pod, root,
      locksDescription: true)
    return ParentLimit(
      ParentRecord(owning: try opened(record), locksDescription: true), pod, nonce: nonce)
  }

  private var record: String {
    get throws {
      let names = try FileDescriptor.open(root.parents, O_RDONLY | O_DIRECTORY).entries()
      return root.parents + "/" + (try #require(names.first))
    }
  }

  /// An open file of its own, as another process has.
  private func opened(_ record: borrowing FileDescriptor) throws -> FileDescriptor {
    try FileDescriptor.open("/proc/self/fd/\(record.number)", O_RDWR)
  }

  private func instance(_ nonce: UInt64) -> String {
    root.containers + "/key/" + ApplicationDirectory.name(of: nonce)
  }

  @Test(arguments: [true, false])
  func `the pod follows its containers up and down`(isV1: Bool) throws {
    let pod = Pod(50_000, isV1: isV1)
    let (one, other) = (try join(1, pod), try join(2, pod))
    try move(one, pod, 1, to: 80_000, declared: 25_000)
    #expect(pod.limit.value == 105_001)
    try move(other, pod, 2, to: 30_000, declared: 25_000)
    #expect(pod.limit.value == 110_001)
    try move(one, pod, 1, to: 5_000, declared: 25_000)
    #expect(pod.limit.value == 55_001)
    one.leave()
    other.leave()
    #expect(pod.limit.value == 50_000)
  }

  @Test func `where one cannot look nobody is forgotten`() throws {
    let pod = Pod(50_000, isV1: false)
    try move(try join(1, pod), pod, 1, to: 80_000, declared: 25_000)
    rename(root.containers, root.containers + ".away")
    try FileDescriptor.open(root.containers, O_WRONLY | O_CREAT).write("")
    #expect(ParentRegistry.sweep(root, locksDescription: true, kernel: pod))
    #expect(pod.limit.value == 105_001)
  }

  @Test func `what is refused when a container goes is done later, whoever is left`() throws {
    let pod = Pod(50_000, isV1: true)
    let (one, _) = (try join(1, pod), try join(2, pod))
    try move(one, pod, 1, to: 80_000, declared: 25_000)
    rmdir(instance(1))
    // As long as one of its tasks was not reaped the kernel compares with its group.
    #expect(ParentRegistry.sweep(root, locksDescription: true, kernel: pod))
    pod.children[1] = nil
    #expect(!ParentRegistry.sweep(root, locksDescription: true, kernel: pod))
    #expect(pod.limit.value == 50_000)
  }

  @Test func `a kubelet's write is kept, and what is held comes on top of it`() throws {
    let pod = Pod(50_000, isV1: true)
    let one = try join(1, pod)
    try move(one, pod, 1, to: 80_000, declared: 50_000)
    pod.limit.value = 100_000
    one.look(at: monotonicNow(), holding: 300_000_000)
    #expect(pod.limit.value == 130_001)
    let writes = pod.writes
    // Not again at once.
    pod.limit.value = 120_000
    one.look(at: monotonicNow(), holding: 300_000_000)
    #expect(pod.writes == writes && pod.limit.value == 120_000)
    one.leave()
    #expect(pod.limit.value == 120_000)
  }

  @Test func `as many containers as there are places are counted, and one more is not`() throws {
    let pod = Pod(50_000, isV1: true)
    for nonce: UInt64 in 1...496 { _ = try join(nonce, pod) }
    #expect(throws: SystemError.self) { _ = try join(497, pod) }
    for nonce: UInt64 in [1, 16, 17, 48, 49, 496] {
      try (try join(nonce, pod)).raise(to: 10_000_000)
    }
    #expect(ParentRegistry.sight(of: directory.path + "/pod", .cpu, root)?.excess == 60_000_000)
    #expect(pod.limit.value == 56_001)
  }

  @Test func `nobody who has no more than it declares has the pod written`() throws {
    let pod = Pod(50_000, isV1: true)
    let one = try join(1, pod)
    for quota: Int64 in [5_000, 50_000, 20_000] {
      try move(one, pod, 1, to: quota, declared: 50_000)
    }
    one.look(at: monotonicNow(), holding: 0)
    #expect(pod.writes == 0)
  }

  @Test func `what the kernel refuses is not held`() throws {
    final class Full: ParentFile {
      func read() throws(SystemError) -> ParentValue { ParentValue(50_000, scale: 100_000) }
      func write(_ value: ParentValue, over old: ParentValue) throws(SystemError) {
        throw SystemError("write", "the quota", errno: EINVAL)
      }
    }
    let pod = Pod(50_000, isV1: true)
    _ = try join(1, pod)
    let record = try ParentRegistry.register(
      ParentAccount.Hold(nonce: 1), .cpu, path: directory.path + "/pod", pod, root,
      locksDescription: true)
    let one = ParentLimit(
      ParentRecord(owning: try opened(record), locksDescription: true), Full(), nonce: 1)
    #expect(throws: SystemError("write", "the quota", errno: EINVAL)) { try one.raise(to: 1000) }
    #expect(ParentRegistry.sight(of: directory.path + "/pod", .cpu, root)?.excess == 0)
  }

  @Test func `who finds the lock taken comes back later`() throws {
    let pod = Pod(50_000, isV1: true)
    let one = try join(1, pod)
    let holder = ParentRecord(
      owning: try FileDescriptor.open(try record, O_RDWR), locksDescription: true)
    try holder.lock()
    #expect(throws: SystemError("lock", "the parent's record", errno: EAGAIN)) {
      try one.raise(to: 100_000_000)
    }
    #expect(pod.limit.value == 50_000)
    holder.unlock()
    try one.raise(to: 100_000_000)
    #expect(pod.limit.value == 60_001)
    // What could not be given back is, at the next look.
    try holder.lock()
    one.lower(to: 0)
    #expect(pod.limit.value == 60_001 && one.retry != nil)
    holder.unlock()
    one.look(at: monotonicNow(), holding: 0)
    #expect(pod.limit.value == 50_000 && one.retry == nil)
  }

  /// Any order of raises, returns, deaths at every write, other people's writes, departures.
  @Test(arguments: 1...150 as ClosedRange<UInt64>)
  func `the pod never has less than is needed, and in the end what its maker wrote`(
    seed: UInt64
  ) throws {
    var random = SeededGenerator(seed: seed)
    let isV1 = Bool.random(using: &random)
    let declared: Int64 = 20_000
    var found: Int64 = 60_000
    let pod = Pod(found, isV1: isV1)
    var alive: [UInt64: ParentLimit] = [:]
    for nonce: UInt64 in 1...3 { alive[nonce] = try join(nonce, pod) }
    pod.record = try record
    for _ in 0..<60 {
      let nonce = UInt64.random(in: 1...3, using: &random)
      switch Int.random(in: 0..<8, using: &random) {
      case 0..<5:
        guard let parent = alive[nonce] else { continue }
        let dies = Bool.random(using: &random)
        pod.death = dies ? Pod.Death.allCases.randomElement(using: &random) : nil
        let end = dies ? Int.random(in: 1...3, using: &random) : 3
        let quota = Int64.random(in: 2...120, using: &random) * 1000
        _ = try? move(
          parent, pod, nonce, to: quota, declared: declared, killedBehind: end)
        try pod.bury()
        if dies {
          // The next one takes over from what the kernel has.
          let next = try join(nonce, pod)
          next.hold(max(0, (pod.children[nonce] ?? 0) - declared) * 10_000)
          alive[nonce] = next
        }
      case 5:
        let wanted = Int64.random(in: 60...90, using: &random) * 1000
        // v1 does not let its maker below a child.
        if !isV1 || wanted >= pod.children.values.max() ?? 0 {
          (pod.limit.value, found) = (wanted, wanted)
          for parent in alive.values { parent.review() }
        }
      case 6:
        // A container ends, with its supervisor or after it, and another one begins.
        pod.children[nonce] = nil
        if Bool.random(using: &random) { alive[nonce]?.leave() }
        rmdir(instance(nonce))
        ParentRegistry.sweep(root, locksDescription: true, kernel: pod)
        alive[nonce] = try join(nonce, pod)
      default: for parent in alive.values { parent.review() }
      }
      let excess = pod.children.values.reduce(0) { $0 + max(0, $1 - declared) }
      #expect(pod.limit.value ?? .max >= found + excess)
    }
    for nonce in alive.keys {
      pod.children[nonce] = nil
      alive[nonce]?.leave()
    }
    #expect(pod.limit.value == found)
  }
}

// SPDX-License-Identifier: Apache-2.0
import Glibc
import TestFiles
import TestValues
import Testing

@testable import Application
@testable import Control
@testable import LiveLimits
@testable import Quantities
@testable import State
@testable import Syscalls

/// A pod's memory limit, which notes what its container's limit was at each write.
private final class PodMemory: ParentFile {
  var limit = ParentValue(256 * mebibyte, scale: ParentValue.bytes)
  var refusal: Int32?
  private(set) var containers: [Int64?] = []
  let container: () -> Int64?

  init(_ container: @escaping () -> Int64?) { self.container = container }

  func read() throws(SystemError) -> ParentValue { limit }

  func write(_ value: ParentValue, over old: ParentValue) throws(SystemError) {
    if let refusal { throw SystemError("write", "the pod's limit", errno: refusal) }
    containers.append(container())
    limit = value
  }
}

private struct Cached: MemoryController.Environment {
  func inactiveFile() -> Int64 { 0 }
  func spareMemory() -> Int64 { .max }
}

@Suite struct MemoryLimitApplierTests {
  private let directory: TemporaryDirectory
  private let pod: PodMemory
  private let limits: MemoryLimitApplier

  /// A container that declares 32 MiB, has them and may have 64.
  init() throws {
    let directory = try TemporaryDirectory()
    self.directory = directory
    try directory.write("\(32 * mebibyte)\n", to: "limit")
    let root = StateRoot(path: directory.path + "/run")
    let instance = root.containers + "/key/" + ApplicationDirectory.name(of: 1)
    for path in [root.path, root.containers, root.containers + "/key", instance] {
      mkdir(path, 0o700)
    }
    mkdir(directory.path + "/pod", 0o700)
    pod = PodMemory { (try? directory.read("limit")).flatMap { Int64($0.prefix(8)) } }
    let record = try ParentRegistry.register(
      ParentAccount.Hold(nonce: 1), .memory, path: directory.path + "/pod", pod, root,
      locksDescription: true)
    let parent = ParentLimit(
      ParentRecord(
        owning: try FileDescriptor.open("/proc/self/fd/\(record.number)", O_RDWR),
        locksDescription: true), pod, nonce: 1)
    limits = try MemoryLimitApplier(
      MemoryBase(
        declared: 32 * mebibyte, floor: 16 * mebibyte, explicitCeiling: 64 * mebibyte,
        limit: 1 << 40), isObserver: false, parent
    ) { place in
      // There is a limit, and nothing else.
      place == .memoryLimit
        ? (try? FileDescriptor.open(directory.path + "/limit", O_RDWR)) ?? .none : .none
    }
  }

  private func apply(_ limit: Int64) -> Bool {
    var controller = MemoryController(
      MemoryLaw(to: 1 << 40, version: .v1), limit: limits.ours, bounds: limits.bounds, now: 0)
    return limits.apply(
      MemoryController.Decision(limit: limit, rule: .memoryGranted, use: 8 * mebibyte),
      of: &controller, from: limits.ours, surroundings: Cached(), use: { 8 * mebibyte })
  }

  @Test func `the pod is raised before its container, and lowered behind it`() throws {
    #expect(apply(64 * mebibyte))
    #expect(limits.ours == 64 * mebibyte && pod.limit.value ?? 0 >= 288 * mebibyte)
    #expect(pod.containers == [32 * mebibyte])
    #expect(apply(32 * mebibyte))
    #expect(limits.ours == 32 * mebibyte && pod.limit.value == 256 * mebibyte)
    #expect(pod.containers == [32 * mebibyte, 32 * mebibyte])
  }

  /// What the kernel says, and what the pod is known to have for good, in MiB.
  @Test(arguments: [(EAGAIN, nil), (EINVAL, 256)] as [(Int32, Int64?)])
  func `a container whose pod cannot be raised keeps what it has`(errno: Int32, pod known: Int64?) {
    pod.refusal = errno
    #expect(!apply(64 * mebibyte))
    #expect(limits.ours == 32 * mebibyte && pod.containers.isEmpty)
    #expect(limits.current == 32 * mebibyte)
    #expect(limits.base.above.most == known.map { $0 * mebibyte })
  }
}

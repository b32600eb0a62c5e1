// SPDX-License-Identifier: Apache-2.0
import Glibc
import TestFiles
import Testing

@testable import Cgroups
@testable import Quantities
@testable import Syscalls

/// A directory shaped like a cgroup's.
///
/// Its files are not cut off by a write as the kernel's are,
/// so the tests write values of as many digits as they find.
private func directory(_ files: [String: String]) throws -> TemporaryDirectory {
  let directory = try TemporaryDirectory()
  for (name, text) in files { try directory.write(text, to: name) }
  return directory
}

private let v1Files = ["cpu.cfs_quota_us": "50000\n", "cpu.cfs_period_us": "100000\n"]
private let v2Files = ["cpu.max": "50000 100000\n"]

private func set(
  _ limit: CFSBandwidth, in directory: TemporaryDirectory, _ version: CgroupVersion
) throws -> CFSBandwidth {
  var writer = try CgroupWriter(
    directory: try directory.opened(), version: version, readOnly: false)
  try writer.set(limit, from: try writer.current())
  return try writer.current()
}

@Suite struct CgroupWriterTests {
  @Test func `sets v1's files`() throws {
    let directory = try directory(v1Files)
    #expect(try set(CFSBandwidth(quota: 20_000), in: directory, .v1) == CFSBandwidth(quota: 20_000))
    #expect(try directory.read("cpu.cfs_period_us") == "100000\n")
    let other = CFSBandwidth(quota: 60_000, period: 200_000)
    #expect(try set(other, in: directory, .v1) == other)
    #expect(try directory.read("cpu.cfs_quota_us") == "60000\n")
    #expect(try directory.read("cpu.cfs_period_us") == "200000\n")
  }

  @Test func `sets v2's file`() throws {
    let directory = try directory(v2Files)
    #expect(try set(CFSBandwidth(quota: 20_000), in: directory, .v2) == CFSBandwidth(quota: 20_000))
    #expect(try directory.read("cpu.max") == "20000 100000\n")
  }

  @Test(arguments: [
    (CgroupVersion.v1, "30000\n", Int64(20_000), "20000\n"),
    (.v2, "30000\n", 20_000, "20000\n"),
    // Not in the way, or not lowered.
    (.v1, "20000\n", 20_000, "20000\n"), (.v2, "10000\n", 20_000, "10000\n"),
    (.v2, "60000\n", 90_000, "60000\n"),
  ])
  func `a burst above the lower quota is lowered to it`(
    version: CgroupVersion, burst: String, quota: Int64, left: String
  ) throws {
    let name = version == .v1 ? "cpu.cfs_burst_us" : "cpu.max.burst"
    var files = version == .v1 ? v1Files : v2Files
    files[name] = burst
    let directory = try directory(files)
    #expect(
      try set(CFSBandwidth(quota: quota), in: directory, version) == CFSBandwidth(quota: quota))
    #expect(try directory.read(name) == left)
  }

  @Test(arguments: [CgroupVersion.v1, .v2])
  func `a burst that was lowered comes back with the quota`(
    version: CgroupVersion
  ) throws {
    let name = version == .v1 ? "cpu.cfs_burst_us" : "cpu.max.burst"
    var files = version == .v1 ? v1Files : v2Files
    files[name] = "40000\n"
    let directory = try directory(files)
    var writer = try CgroupWriter(
      directory: try directory.opened(), version: version, readOnly: false)
    for (quota, burst) in [
      (20_000, "20000\n"), (10_000, "10000\n"), (30_000, "30000\n"), (70_000, "40000\n"),
      (20_000, "20000\n"),
    ] {
      try writer.set(CFSBandwidth(quota: Int64(quota)), from: try writer.current())
      #expect(try directory.read(name) == burst)
    }
    // Somebody has other wishes meanwhile.
    try directory.write("15000\n", to: name)
    try writer.set(CFSBandwidth(quota: 70_000), from: try writer.current())
    #expect(try directory.read(name) == "15000\n")
  }

  @Test func `the limit moves inside a scope, which has the declared one`() throws {
    let own = try directory(v2Files)
    let scope = try directory(["cpu.max": "60000 100000\n", "cpu.max.burst": "55000\n"])
    var writer = try CgroupWriter(
      directory: try own.opened(), version: .v2, readOnly: false, in: scope.path)
    #expect(try writer.inner() == CFSBandwidth(quota: 60_000))
    #expect(try writer.current() == CFSBandwidth(quota: 50_000))
    // Programs in it read no other group, so the limit is written there also where it is the same.
    try writer.set(CFSBandwidth(quota: 60_000), from: try writer.current())
    #expect(try own.read("cpu.max") == "60000 100000\n")
    try writer.raiseInner(to: CFSBandwidth(quota: 80_000))
    #expect(try scope.read("cpu.max") == "80000 100000\n")
    #expect(try scope.read("cpu.max.burst") == "55000\n")
    #expect(try own.read("cpu.max") == "60000 100000\n")
    // Where the own group has none, that of the scope holds.
    try own.write("max 100000\n", to: "cpu.max")
    #expect(try writer.current() == CFSBandwidth(quota: 80_000))
  }

  @Test func `files of a scope that are given away are taken over as such`() throws {
    let own = try directory(v2Files)
    let scope = try directory(["cpu.max": "60000 100000\n"])
    let files = try CgroupWriter(
      directory: try own.opened(), version: .v2, readOnly: false, in: scope.path
    ).release()
    var writer = CgroupWriter(
      version: .v2, readOnly: false, quota: FileDescriptor(owning: files.quota),
      period: .none, burst: FileDescriptor(owning: files.burst),
      other: FileDescriptor(owning: files.other), inner: FileDescriptor(owning: files.inner))
    #expect(try writer.inner() == CFSBandwidth(quota: 60_000))
    try writer.set(CFSBandwidth(quota: 60_000), from: try writer.current())
    #expect(try own.read("cpu.max") == "60000 100000\n")
  }

  @Test(arguments: [CgroupVersion.v1, .v2])
  func `a reader reads and refuses to write`(version: CgroupVersion) throws {
    let directory = try directory(version == .v1 ? v1Files : v2Files)
    var reader = try CgroupWriter(
      directory: try directory.opened(), version: version, readOnly: true)
    let found = try reader.current()
    let isReadOnly = reader.isReadOnly
    #expect(found == CFSBandwidth(quota: 50_000))
    #expect(isReadOnly)
    #expect(throws: SystemError("write", "the CPU quota", errno: EBADF)) {
      try reader.set(CFSBandwidth(quota: 20_000), from: found)
    }
    // Not by its open file either.
    #expect(throws: SystemError.self) {
      try reader.quotaFile.overwrite("20000", subject: "the CPU quota")
    }
    #expect(try reader.current() == found)
  }

  @Test func `a group without the cpu controller is an error`() throws {
    let directory = try directory(["cgroup.procs": ""])
    for version in [CgroupVersion.v1, .v2] {
      for readOnly in [true, false] {
        #expect(throws: SystemError.self) {
          _ = try CgroupWriter(
            directory: try directory.opened(), version: version, readOnly: readOnly)
        }
      }
    }
  }

  @Test func `what is no limit is an error`() throws {
    let directory = try directory(["cpu.max": "never\n"])
    let reader = try CgroupWriter(directory: try directory.opened(), version: .v2, readOnly: true)
    #expect(throws: SystemError("read", "the CPU quota", errno: EINVAL)) {
      _ = try reader.current()
    }
  }
}

/// A group of v1's cpu hierarchy, gone when the test is over.
private final class CPUCgroup {
  static let mount = "/sys/fs/cgroup/cpu"
  static let isWritable =
    geteuid() == 0 && access(mount + "/cpu.cfs_burst_us", F_OK) == 0 && access(mount, W_OK) == 0

  let path = mount + "/escra-live-\(getpid())-\(UInt32.random(in: 0 ... .max))"

  init() throws(SystemError) { try retrying("make directory", path) { mkdir(path, 0o755) } }
  deinit { rmdir(path) }

  func write(_ text: String, to name: String) throws(SystemError) {
    try FileDescriptor.open("\(path)/\(name)", O_WRONLY).write(text)
  }
}

@Suite(.enabled(if: CPUCgroup.isWritable))
struct CgroupWriterKernelTests {
  @Test func `the kernel takes every limit, each way, also below the burst`() throws {
    let group = try CPUCgroup()
    let opened = try FileDescriptor.open(group.path, O_RDONLY | O_DIRECTORY)
    var writer = try CgroupWriter(directory: opened, version: .v1, readOnly: false)
    #expect(try writer.current() == CFSBandwidth(quota: nil))
    for limit in [
      CFSBandwidth(quota: 50_000), CFSBandwidth(quota: 100_000, period: 200_000),
      CFSBandwidth(quota: 10_000, period: 20_000), CFSBandwidth(quota: nil),
      CFSBandwidth(quota: 60_000),
    ] {
      try writer.set(limit, from: try writer.current())
      #expect(try writer.current() == limit)
    }
    try group.write("40000", to: "cpu.cfs_burst_us")
    try writer.set(CFSBandwidth(quota: 30_000), from: try writer.current())
    #expect(try writer.current() == CFSBandwidth(quota: 30_000))
  }

  @Test func `a group that is gone is an error`() throws {
    var group: CPUCgroup? = try CPUCgroup()
    let opened = try FileDescriptor.open(try #require(group?.path), O_RDONLY | O_DIRECTORY)
    let writer = try CgroupWriter(directory: opened, version: .v1, readOnly: false)
    group = nil
    #expect(throws: SystemError("read", "the CPU quota", errno: ENODEV)) {
      _ = try writer.current()
    }
  }
}

// SPDX-License-Identifier: Apache-2.0
import Glibc
import TestFiles
import TestValues
import Testing

@testable import Hooks
@testable import Syscalls

/// A cgroup of the unified hierarchy, gone when the test is over.
private final class UnifiedCgroup {
  /// Where the unified hierarchy is: alone, or beside v1's.
  static let mount = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].first {
    access($0 + "/cgroup.controllers", F_OK) == 0
  }
  /// Whether the machine lets us make cgroups.
  static let isWritable = geteuid() == 0 && mount.map { access($0, W_OK) == 0 } == true

  let path: String
  let directory: FileDescriptor

  init() throws {
    let mount = try #require(Self.mount)
    let path = mount + "/escra-hooks-\(getpid())-\(UInt32.random(in: 0 ... .max))"
    try retrying("make directory", path) { mkdir(path, 0o755) }
    directory = try FileDescriptor.open(path, O_RDONLY | O_DIRECTORY)
    self.path = path
  }

  func add(_ child: Child) throws {
    try directory.open("cgroup.procs", O_WRONLY).write("\(child.pid)")
  }

  // EBUSY until the kernel has let go of the last process.
  deinit { _ = eventually { rmdir(path) == 0 } }
}

@Suite(.enabled(if: UnifiedCgroup.isWritable))
struct BusyAlarmTests {
  @Test func `it calls once when work begins, and again only when it is armed again`() throws {
    let cgroup = try UnifiedCgroup()
    // It stays on one CPU, so that one event hears all of it, and ends itself if nobody else does.
    let child = try Child(
      "/usr/bin/taskset", "-c", "0", "/bin/sh", "-c", "ulimit -t 5; while :; do :; done")
    let alarm = try IdleWakeup(cgroup: cgroup.directory, cpus: [0], after: 1 * ms)
    alarm.arm()
    #expect(!isReadable(alarm.descriptor.number, within: 20 * ms), "nobody is in there")

    try cgroup.add(child)
    #expect(isReadable(alarm.descriptor.number))
    alarm.acknowledge()
    #expect(!isReadable(alarm.descriptor.number, within: 50 * ms), "it works on, unasked")
    alarm.arm()
    #expect(isReadable(alarm.descriptor.number))
    alarm.acknowledge()

    kill(child.pid, SIGSTOP)
    #expect(eventually { child.state == "T" })
    alarm.arm()
    #expect(!isReadable(alarm.descriptor.number, within: 50 * ms), "it is stopped")
    kill(child.pid, SIGCONT)
    #expect(isReadable(alarm.descriptor.number))
  }

  @Test func `a CPU that is not there is an error`() throws {
    let cgroup = try UnifiedCgroup()
    #expect(throws: SystemError.self) {
      _ = try IdleWakeup(cgroup: cgroup.directory, cpus: [0, 1 << 20], after: 1 * ms)
    }
  }

  @Test func `what is no cgroup is an error`() throws {
    let directory = try FileDescriptor.open("/tmp", O_RDONLY | O_DIRECTORY)
    #expect(throws: SystemError.self) {
      _ = try IdleWakeup(cgroup: directory, cpus: [0], after: 1 * ms)
    }
  }
}

// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import Hooks
internal import Syscalls

/// Everything of a running container that a supervisor holds open.
///
/// Opened while there is the privilege to; nothing is opened later.
final class Attachment {
  let initProcess: ProcessHandle
  let writer: CgroupWriter
  let meter: UsageMeter
  let alarm: BusyAlarm?
  /// What is missed where there is no alarm, for people.
  let alarmFailure: SystemError?
  /// Limits above the container's own, as the least number of nanocores; nil for none.
  let ancestorLimit: Int64?

  private let members: FileDescriptor
  private let freezer: FileDescriptor
  private let pressure: FileDescriptor
  private var stalled: (total: Int64, time: Nanoseconds)

  /// Opens all of it, and completes the state with what was found.
  ///
  /// - Parameter state: Must have an ``ContainerState/initProcess``.
  /// - Throws: ``SystemError``: ESRCH when the container has ended already, EXDEV when its init is
  ///   not in a cgroup of its own, and whatever opening a file says.
  init(_ state: inout ContainerState) throws(SystemError) {
    let ended = SystemError("find", "the container's init", errno: ESRCH)
    guard let identity = state.initProcess, let handle = ProcessHandle(identity),
      let membership = try? Manners.text(of: "/proc/\(identity.pid)/cgroup"), !handle.hasEnded
    else { throw ended }
    let mounts = try Manners.text(of: "/proc/self/mountinfo")
    guard let location = CgroupLocation(membership: membership, mounts: mounts),
      location.isNamed(state.cgroupName)
    else { throw SystemError("supervise", "a cgroup that is not the container's", errno: EXDEV) }
    let directory = try FileDescriptor.open(location.cpu, O_RDONLY | O_DIRECTORY)
    let inode = try directory.status().identity.inode
    // After a crash: the same path may be another container's by now.
    if let known = state.cpuInode, known != inode { throw ended }
    writer = try CgroupWriter(
      directory: directory, version: location.version, readOnly: state.policy == "observe")
    members = try directory.open("cgroup.procs", O_RDONLY)
    meter = try Self.openMeter(location)
    freezer = Self.openFreezer(location)
    pressure = Self.openPressure(location)
    ancestorLimit = location.ancestorLimit()
    (alarm, alarmFailure) = Self.openAlarm(location, base: state.base)
    initProcess = handle
    stalled = (0, monotonicNow())
    state.complete(with: location, inode: inode)
    state.source = alarm == nil ? "sampling" : "perf, sampling"
    stalled.total = stallTotal() ?? 0
  }

  /// Whether any process is left in the container's cgroup; a group that is gone has none.
  var hasMembers: Bool {
    ((try? members.contents(subject: "cgroup.procs")) ?? "").isEmpty == false
  }

  /// Whether the container is paused: v1's freezer.state, v2's cgroup.freeze.
  func isFrozen() -> Bool {
    guard freezer.isOpen, let state = try? freezer.contents(subject: "the freezer") else {
      return false
    }
    return state.utf8.starts(with: "FRO".utf8) || state.utf8.starts(with: "FRE".utf8)
      || state.utf8.first == UInt8(ascii: "1")
  }

  /// Whether its tasks waited for a CPU for more than a fifth of the time since the last question.
  ///
  /// Pressure stall information, Documentation/accounting/psi.rst: "some" is the time in which at
  /// least one task of the group was runnable and had no CPU.
  func wasContended() -> Bool {
    guard let total = stallTotal() else { return false }
    let now = monotonicNow()
    defer { stalled = (total, now) }
    return (total - stalled.total) * 1000 * 5 > now - stalled.time
  }

  private func stallTotal() -> Int64? {
    guard pressure.isOpen, let text = try? pressure.contents(subject: "the CPU pressure") else {
      return nil
    }
    // some avg10=0.00 avg60=0.00 avg300=0.00 total=4711
    let first = text.prefix { $0 != "\n" }
    guard let total = first.split(separator: " ").last, total.utf8.starts(with: "total=".utf8)
    else { return nil }
    return Int64(total.dropFirst(6))
  }

  private static func openMeter(_ location: CgroupLocation) throws(SystemError) -> UsageMeter {
    if location.version == .v1, let cpuacct = location.cpuacct {
      return UsageMeter(
        owning: try FileDescriptor.open(cpuacct + "/cpuacct.usage", O_RDONLY),
        format: .nanoseconds)
    }
    return UsageMeter(
      owning: try FileDescriptor.open(location.cpu + "/cpu.stat", O_RDONLY), format: .cpuStat)
  }

  private static func openFreezer(_ location: CgroupLocation) -> FileDescriptor {
    let path = location.freezer.map { $0 + "/freezer.state" } ?? location.cpu + "/cgroup.freeze"
    return (try? FileDescriptor.open(path, O_RDONLY)) ?? .none
  }

  /// The container's own pressure where it has a group of the unified hierarchy, else the host's.
  private static func openPressure(_ location: CgroupLocation) -> FileDescriptor {
    let own = location.unified.flatMap {
      try? FileDescriptor.open($0 + "/cpu.pressure", O_RDONLY).release()
    }
    if let own { return FileDescriptor(owning: own) }
    return (try? FileDescriptor.open("/proc/pressure/cpu", O_RDONLY)) ?? .none
  }

  private static func openAlarm(
    _ location: CgroupLocation, base: CPUBase
  ) -> (BusyAlarm?, SystemError?) {
    do throws(SystemError) {
      guard let path = location.perf else {
        throw SystemError("find", "a perf_event cgroup of the container", errno: ENOENT)
      }
      let directory = try FileDescriptor.open(path, O_RDONLY | O_DIRECTORY)
      let quiet = base.bounds(hasAlarm: true).floor / 5
      return (
        try BusyAlarm(cgroup: directory, cpus: Machine.onlineCPUs(), after: quiet), nil
      )
    } catch { return (nil, error) }
  }
}

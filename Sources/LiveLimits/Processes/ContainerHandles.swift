// SPDX-License-Identifier: Apache-2.0
internal import Cgroups
internal import Glibc
internal import Hooks
internal import Quantities
internal import Syscalls

/// Everything of a running container that a supervisor holds open while it supervises.
final class ContainerHandles {
  let initProcess: ProcessHandle
  var writer: CgroupWriter
  let meter: UsageMeter
  /// What the hooks in the scheduler tell; nil where there are none.
  private(set) var events: SchedulerEvents?
  /// What calls when an idle container starts to work, where no hook does.
  private(set) var alarm: IdleWakeup?
  /// The CPU limit of the group right above the container's own; nil where it is not watched.
  let above: CgroupWriter?
  /// The limits of the group that it is in with others, where it may change them.
  private(set) var parent: (cpu: ParentLimit?, memory: ParentLimit?)

  /// They keep the programs alive.
  private var firstLink, secondLink, thirdLink: FileDescriptor
  private let members: GroupMembers
  private let freezer: FileDescriptor
  private let pressure: FileDescriptor
  private var waited: (total: Nanoseconds, time: Nanoseconds)

  /// Takes over what the finding image left open for this one.
  init(_ handover: ReexecState, nonce: UInt64) {
    initProcess = ProcessHandle(owning: handover.take(.initProcess))
    writer = CgroupWriter(
      version: handover.version, readOnly: handover.isObserver, quota: handover.take(.quota),
      period: handover.take(.period), burst: handover.take(.burst),
      other: handover.take(.other), inner: handover.take(.innerQuota),
      innerBurst: handover.take(.innerBurst))
    meter = UsageMeter(owning: handover.take(.usage), format: handover.usageFormat)
    members = GroupMembers(owning: handover.take(.members), handover.version)
    freezer = handover.take(.freezer)
    pressure = handover.take(.pressure)
    let ring = handover.take(.events)
    events = ring.isOpen ? SchedulerEvents(adopting: ring) : nil
    firstLink = handover.take(.firstLink)
    secondLink = handover.take(.secondLink)
    thirdLink = handover.take(.thirdLink)
    alarm =
      handover.clocks == 0
      ? nil : IdleWakeup(adopting: handover.take(.alarm), events: handover.clockDescriptors)
    above =
      handover.has(.aboveQuota)
      ? CgroupWriter(
        version: handover.version, readOnly: true, quota: handover.take(.aboveQuota),
        period: handover.take(.abovePeriod), burst: .none) : nil
    parent = handover.takeParents(nonce)
    waited = (0, monotonicNow())
    waited.total = waitTotal() ?? 0
  }

  /// Hears by hooks from now on.
  ///
  /// - Parameter files: Their ring and their links, as ``SchedulerHooks/files(with:)`` gives them.
  func adopt(hooks files: [Int32]) {
    if !writer.isReadOnly { alarm = nil }
    for (index, file) in files.enumerated() {
      let file = FileDescriptor(owning: file)
      switch index {
      case 0: events = SchedulerEvents(adopting: file)
      case 1: firstLink = file
      case 2: secondLink = file
      default: thirdLink = file
      }
    }
  }

  /// Leaves the parent's CPU limit alone from now on: the kernel would not have it.
  func forgetParent() { parent.cpu = nil }

  /// Whether something calls when an idle container starts to work.
  var hearsUse: Bool { alarm != nil || events != nil }

  /// Whether the container is paused: v1's freezer.state, v2's cgroup.events, which also tells of a
  /// group above that was frozen.
  func isFrozen() -> Bool {
    guard freezer.isOpen, let state = try? freezer.contents(subject: "the freezer") else {
      return false
    }
    // THAWED, FREEZING, FROZEN.
    return CgroupEvents.isSet("frozen", in: state) ?? (state.utf8.first == UInt8(ascii: "F"))
  }

  /// Whether its tasks waited for a CPU for more than a fifth of the time since the last question;
  /// not where nothing tells.
  func wasContended() -> Bool {
    guard let total = waitTotal() else { return false }
    let now = monotonicNow()
    defer { waited = (total, now) }
    return (total - waited.total) * 5 > now - waited.time
  }

  private func waitTotal() -> Nanoseconds? {
    guard pressure.isOpen, let text = pressure.contentsIfReadable() else {
      return nil
    }
    return Self.waited(in: text)
  }

  /// How long tasks waited for a CPU until now.
  ///
  /// - Parameter text: Pressure stall information, "some avg10=0.00 … total=4711" in µs
  ///   (Documentation/accounting/psi.rst); /proc/PID/schedstat, whose second number is it
  ///   (Documentation/scheduler/sched-stats.rst); or cgroup v1's cpu.stat with the line wait_sum.
  /// - Returns: nil where it does not tell.
  static func waited(in text: String) -> Nanoseconds? {
    for line in text.split(at: "\n") {
      let words = line.split(separator: " ")
      guard let first = words.first, let last = words.last else { continue }
      if first == "some", last.utf8.starts(with: "total=".utf8) {
        return Int64(last.dropFirst(6)).map { $0 * 1000 }
      }
      if first == "wait_sum" { return Int64(last) }
      if words.count == 3, Int64(first) != nil { return Int64(words[1]) }
    }
    return nil
  }
}

extension ContainerHandles: LifetimeSource {
  var initDescriptor: Int32 { initProcess.descriptor.number }

  var hasLostInit: Bool { !initProcess.descriptor.isOpen || initProcess.hasEnded }

  var hasMembers: Bool? {
    do throws(SystemError) {
      // First whether the group is there.
      if !members.isOfGroup { _ = try writer.current() }
      return try members.areThere()
    } catch { return error.errno == ENODEV ? false : nil }
  }

  func watchMembers(_ poller: borrowing Poller, token: UInt64) -> Bool {
    // Without a report the supervisor looks once a second.
    (try? members.watch(poller, token: token)) == true
  }
}

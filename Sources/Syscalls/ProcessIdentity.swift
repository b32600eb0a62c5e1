// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Glibc

/// A process as it stays itself: pids are reused, a pid with its start time is not.
package struct ProcessIdentity: Hashable, Sendable, CustomStringConvertible {
  /// The process id, as this pid namespace sees it.
  package let pid: Int32
  /// When it started, in clock ticks since boot: field 22 of /proc/PID/stat (proc(5)).
  package let startTicks: Int64

  /// Makes an identity that was written down earlier.
  package init(pid: Int32, startTicks: Int64) {
    self.pid = pid
    self.startTicks = startTicks
  }

  /// Asks /proc which process has this pid now; nil if none has.
  package init?(pid: Int32) {
    guard let stat = Self.stat(of: pid), let ticks = Self.startTicks(inStat: stat) else {
      return nil
    }
    self.init(pid: pid, startTicks: ticks)
  }

  /// Whether it is being ended by the kernel, and has its files and locks still.
  ///
  /// That takes as long as what they stand for: programs that are hung into the scheduler go after
  /// an RCU grace period. Until then others can connect to it, and no process will answer.
  package var isEnding: Bool {
    guard let stat = Self.stat(of: pid) else { return false }
    return Self.startTicks(inStat: stat) == startTicks && Self.isEnding(inStat: stat)
  }

  /// Whether it has not ended; a zombie has.
  package var isAlive: Bool {
    guard let stat = Self.stat(of: pid), Self.startTicks(inStat: stat) == startTicks else {
      return false
    }
    return !["Z", "X"].contains(Self.field(3, inStat: stat))
  }

  /// What a process is called: /proc/PID/comm, at most 15 bytes (proc(5)).
  ///
  /// - Returns: nil for one that has ended.
  package static func name(of process: Int32) -> String? {
    guard process > 0, let text = FileDescriptor.textIfReadable(of: "/proc/\(process)/comm") else {
      return nil
    }
    return String(Substring(text.utf8.prefix { $0 != UInt8(ascii: "\n") }))
  }

  /// The parent of a process: field 4 of /proc/PID/stat.
  ///
  /// - Returns: nil for one that has ended.
  package static func parent(of process: Int32) -> Int32? {
    stat(of: process).flatMap { field(4, inStat: $0) }.flatMap { Int32($0) }
  }

  /// Whether a process is running, or waits in the kernel for what nothing interrupts.
  ///
  /// One that was stopped does neither.
  package static func isAtWork(pid: Int32) -> Bool { stat(of: pid).map(isAtWork(inStat:)) ?? false }

  /// Whether a process was stopped by a signal.
  package static func isStopped(pid: Int32) -> Bool {
    stat(of: pid).flatMap { field(3, inStat: $0) } == "T"
  }

  /// Reads field 3 of /proc/PID/stat, the state.
  static func isAtWork(inStat stat: String) -> Bool {
    let state = field(3, inStat: stat)
    return state == "R" || state == "D"
  }

  private static func stat(of pid: Int32) -> String? {
    guard let stat = FileDescriptor.bytesIfReadable(of: "/proc/\(pid)/stat") else {
      return nil
    }
    return String(decoding: stat, as: UTF8.self)
  }

  /// Finds field 22 in the text of /proc/PID/stat.
  static func startTicks(inStat stat: String) -> Int64? {
    field(22, inStat: stat).flatMap { Int64($0) }
  }

  /// Finds PF_EXITING in field 9, the flags (include/linux/sched.h), of one that is no zombie yet.
  static func isEnding(inStat stat: String) -> Bool {
    guard let state = field(3, inStat: stat),
      let flags = field(9, inStat: stat).flatMap({ Int($0) })
    else { return false }
    return flags & 0x4 != 0 && state != "Z" && state != "X"
  }

  /// Finds a field behind the second in the text of /proc/PID/stat, by its number in proc(5).
  ///
  /// The second field is the command in parentheses and may itself hold spaces and parentheses,
  /// so fields are counted from the last one. By bytes: the command is chosen by the process, and
  /// a character that joins with the parenthesis behind it would hide that one from us.
  private static func field(_ number: Int, inStat stat: String) -> Substring? {
    guard let close = stat.utf8.lastIndex(of: UInt8(ascii: ")")) else { return nil }
    let fields = stat.utf8[close...].dropFirst().split(separator: UInt8(ascii: " "))
    return fields.count > number - 3 ? Substring(fields[number - 3]) : nil
  }

  /// The clock that ``startTicks`` is read from, now: to tell who started before and who after.
  package static func nowTicks() -> Int64 { escra_boottime_ticks() }

  /// "pid@ticks", the form in which state files keep it.
  package var description: String { "\(pid)@\(startTicks)" }

  /// Reads ``description`` back.
  package init?(_ description: some StringProtocol) {
    let parts = description.split(separator: "@")
    guard parts.count == 2, let pid = Int32(parts[0]), let ticks = Int64(parts[1]) else {
      return nil
    }
    self.init(pid: pid, startTicks: ticks)
  }
}

/// A pidfd: readable once the process has ended, and never about another one.
package struct ProcessHandle: ~Copyable, Sendable {
  /// The pidfd, for a poller.
  package let descriptor: FileDescriptor

  /// Takes over a pidfd that is open.
  package init(owning descriptor: consuming FileDescriptor) { self.descriptor = descriptor }

  /// Opens a process by number: pidfd_open(2), Linux 5.3.
  ///
  /// - Parameter pid: The process; the caller's own is allowed, and stays valid across execve.
  /// - Throws: ``SystemError`` with ESRCH if no process has this pid.
  package init(pid: Int32) throws(SystemError) {
    descriptor = FileDescriptor(
      owning: try retrying("open process", "\(pid)") { escra_pidfd_open(pid) })
  }

  /// Opens a process only if it still is the one that was meant; nil when it is gone.
  package init?(_ identity: ProcessIdentity) {
    // First the handle, then the question: what the handle holds cannot be reused in between.
    guard let handle = try? ProcessHandle(pid: identity.pid),
      ProcessIdentity(pid: identity.pid) == identity, !handle.hasEnded
    else { return nil }
    self = handle
  }

  /// Gives the pidfd away: for another image.
  package consuming func release() -> Int32 { descriptor.release() }

  /// Whether the process has ended, be it reaped or not.
  package var hasEnded: Bool { hasEnded(within: 0) }

  /// Waits for the end of the process.
  ///
  /// - Parameter milliseconds: For how long at most.
  /// - Returns: Whether it has ended.
  @discardableResult
  package func hasEnded(within milliseconds: Int32) -> Bool {
    var entry = pollfd(fd: descriptor.number, events: Int16(POLLIN), revents: 0)
    return poll(&entry, 1, milliseconds) > 0
  }

  /// Sends a signal: pidfd_send_signal(2).
  package func send(_ signal: Int32) throws(SystemError) {
    try retrying("signal", "a process") { escra_pidfd_send_signal(descriptor.number, signal) }
  }
}

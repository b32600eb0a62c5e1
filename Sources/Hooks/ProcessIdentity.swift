// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Glibc
public import Syscalls

/// A process as it stays itself: pids are reused, a pid with its start time is not.
public struct ProcessIdentity: Hashable, Sendable, CustomStringConvertible {
  /// The process id, as this pid namespace sees it.
  public let pid: Int32
  /// When it started, in clock ticks since boot: field 22 of /proc/PID/stat (proc(5)).
  public let startTicks: Int64

  /// Makes an identity that was written down earlier.
  public init(pid: Int32, startTicks: Int64) {
    self.pid = pid
    self.startTicks = startTicks
  }

  /// Asks /proc who has this pid now; nil when nobody has.
  public init?(pid: Int32) {
    guard let stat = try? FileDescriptor.open("/proc/\(pid)/stat", O_RDONLY).readAll(),
      let ticks = Self.startTicks(inStat: String(decoding: stat, as: UTF8.self))
    else { return nil }
    self.init(pid: pid, startTicks: ticks)
  }

  /// Finds field 22 in the text of /proc/PID/stat.
  ///
  /// The second field is the command in parentheses and may itself hold spaces and parentheses,
  /// so fields are counted from the last one. By bytes: the command is chosen by the process, and
  /// a character that joins with the parenthesis behind it would hide that one from us.
  static func startTicks(inStat stat: String) -> Int64? {
    guard let close = stat.utf8.lastIndex(of: UInt8(ascii: ")")) else { return nil }
    let fields = stat.utf8[close...].dropFirst().split(separator: UInt8(ascii: " "))
    // fields[0] is field 3, the state.
    guard fields.count > 19 else { return nil }
    return Int64(Substring(fields[19]))
  }

  /// The clock that ``startTicks`` is read from, now: to tell who started before and who after.
  public static func nowTicks() -> Int64 { escra_boottime_ticks() }

  /// "pid@ticks", the form in which state files keep it.
  public var description: String { "\(pid)@\(startTicks)" }

  /// Reads ``description`` back.
  public init?(_ description: some StringProtocol) {
    let parts = description.split(separator: "@")
    guard parts.count == 2, let pid = Int32(parts[0]), let ticks = Int64(parts[1]) else {
      return nil
    }
    self.init(pid: pid, startTicks: ticks)
  }
}

/// A pidfd: readable once the process has ended, and never about another one.
public struct ProcessHandle: ~Copyable, Sendable {
  /// The pidfd, for a poller.
  public let descriptor: FileDescriptor

  /// Takes over a pidfd that somebody else opened.
  public init(owning descriptor: consuming FileDescriptor) { self.descriptor = descriptor }

  /// Opens a process by number: pidfd_open(2), Linux 5.3.
  ///
  /// - Parameter pid: The process; the caller's own is allowed, and stays valid across execve.
  /// - Throws: ``SystemError`` with ESRCH when nobody has this pid.
  public init(pid: Int32) throws(SystemError) {
    descriptor = FileDescriptor(
      owning: try retrying("open process", "\(pid)") { escra_pidfd_open(pid) })
  }

  /// Opens a process only if it still is the one that was meant; nil when it is gone.
  public init?(_ identity: ProcessIdentity) {
    // First the handle, then the question: what the handle holds cannot be reused in between.
    guard let handle = try? ProcessHandle(pid: identity.pid),
      ProcessIdentity(pid: identity.pid) == identity, !handle.hasEnded
    else { return nil }
    self = handle
  }

  /// Gives the pidfd away: for another image.
  public consuming func release() -> Int32 { descriptor.release() }

  /// Whether the process has ended, be it reaped or not.
  public var hasEnded: Bool {
    var entry = pollfd(fd: descriptor.number, events: Int16(POLLIN), revents: 0)
    return poll(&entry, 1, 0) > 0
  }

  /// Sends a signal: pidfd_send_signal(2).
  public func send(_ signal: Int32) throws(SystemError) {
    try retrying("signal", "a process") { escra_pidfd_send_signal(descriptor.number, signal) }
  }
}

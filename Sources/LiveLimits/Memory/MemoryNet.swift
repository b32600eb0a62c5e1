// SPDX-License-Identifier: Apache-2.0

/// When what is at its limit is to be parked instead of killed: memory.oom_control of cgroup v1.
///
/// A raise wakes what is parked; nothing else does, so it is only ever on while somebody would
/// notice that who raises has died, and somebody else that this one has. Where there is nothing
/// left to raise to, the kernel is to do what it would have done without us.
public struct MemoryNet: Equatable, Sendable {
  /// Whether the operator wants it, and the container has not switched its kills off itself, which
  /// then stays as it is.
  public let isWanted: Bool
  /// Whether somebody lives who switches it off when this supervisor dies.
  public var isGuarded = false

  /// A net that nobody guards yet.
  public init(isWanted: Bool) { self.isWanted = isWanted }

  /// Whether it is to be on.
  ///
  /// - Parameters:
  ///   - limit: The limit in force, in bytes.
  ///   - ceiling: The most it may become.
  ///   - isRefused: Whether more was wanted, and could not be given.
  /// - Returns: Whether it is.
  public func isOn(limit: Int64, ceiling: Int64, isRefused: Bool) -> Bool {
    isWanted && isGuarded && limit < ceiling && !isRefused
  }

  /// What memory.oom_control says.
  public struct Reading: Equatable, Sendable {
    /// Whether what is at the limit is parked, by whomever.
    public var isOn: Bool
    /// Whether somebody is at the limit now, and waits.
    public var isUnderOOM: Bool

    /// Reads the file's text: "oom_kill_disable 0", "under_oom 0", "oom_kill 0", a line each.
    public init(_ text: String) {
      let lines = text.split(separator: "\n")
      isOn = lines.contains("oom_kill_disable 1")
      isUnderOOM = lines.contains("under_oom 1")
    }
  }
}

// SPDX-License-Identifier: Apache-2.0
internal import Quantities
internal import Syscalls

/// Where the end of a container shows: its init, and the processes in its group and below it.
protocol LifetimeSource: AnyObject {
  /// The pidfd of its init; negative if init was gone when the container was found.
  var initDescriptor: Int32 { get }
  /// Whether its init has ended.
  var hasLostInit: Bool { get }
  /// Whether a process is left in its group or below it; nil if only the keeper can tell.
  var hasMembers: Bool? { get }

  /// Has a poller report the end of the last process.
  ///
  /// - Returns: Whether the kernel will: cgroup v2 alone does.
  func watchMembers(_ poller: borrowing Poller, token: UInt64) -> Bool
}

/// Finds out when a container has ended: no process is left in its group or below it.
///
/// Processes may outlive their init. As long as init is gone the supervisor looks once a second; where
/// it cannot look at the groups below, it asks the keeper. On cgroup v2 the kernel reports the end of
/// the last process as well, mostly (``GroupMembers/watch(_:token:)``).
final class LifetimeComponent: Component {
  private let source: any LifetimeSource
  private let poller: Poller
  private(set) var deadline: Nanoseconds?
  /// The time to the next look at the members, if nothing reports the end.
  private var patience = LifetimeComponent.shortestPatience
  private var isWatched = false

  /// A process that has ended is reaped within that, and is counted until then.
  private static let shortestPatience: Nanoseconds = 10_000_000
  private static let longestPatience: Nanoseconds = 1_000_000_000

  private enum Token {
    static let exit: UInt64 = 0
    static let members: UInt64 = 1
  }

  init(_ source: any LifetimeSource, _ poller: consuming Poller) throws(SystemError) {
    self.source = source
    if source.initDescriptor >= 0 {
      try poller.add(source.initDescriptor, token: Token.exit)
    } else {
      deadline = monotonicNow()
    }
    self.poller = poller
  }

  func handle(_ event: LoopEvent) -> [Effect] {
    switch event {
    case .readable(Token.exit):
      poller.remove(source.initDescriptor)
      return [.initEnded, .checkMembers]
    case .readable, .deadline, .effect(.checkMembers): return checkMembers()
    case .effect(.message(.over, _)): return [.end]
    default: return []
    }
  }

  private func checkMembers() -> [Effect] {
    deadline = nil
    let hasLostInit = source.hasLostInit
    // First the watch, then the look: a process that ends in between is noticed.
    if hasLostInit, !isWatched {
      isWatched = source.watchMembers(poller, token: Token.members)
    }
    let hasMembers = source.hasMembers
    if hasMembers == false { return [.end] }
    guard hasLostInit else { return [] }
    if isWatched && hasMembers == true { patience = Self.longestPatience }
    deadline = monotonicNow() + patience
    defer { patience = min(2 * patience, Self.longestPatience) }
    return hasMembers == nil && patience > Self.shortestPatience ? [.tellKeeper(.askEnd)] : []
  }
}

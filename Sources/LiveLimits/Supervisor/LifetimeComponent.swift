// SPDX-License-Identifier: Apache-2.0
internal import Quantities
internal import Syscalls

/// Finds out when a container has ended: no process is left in its group or below it.
///
/// Processes may outlive their init. On cgroup v2 the kernel reports the end of the last one. On v1
/// only the keeper can look at the groups below; it is asked once a second as long as init is gone.
final class LifetimeComponent: Component {
  private let handles: ContainerHandles
  private let poller: Poller
  private(set) var deadline: Nanoseconds?
  /// The time to the next look at the members, if nothing reports the end.
  private var patience = LifetimeComponent.shortestPatience

  /// A process that has ended is reaped within that, and is counted until then.
  private static let shortestPatience: Nanoseconds = 10_000_000
  private static let longestPatience: Nanoseconds = 1_000_000_000

  private enum Token {
    static let exit: UInt64 = 0
    static let members: UInt64 = 1
  }

  init(_ container: SupervisedContainer, _ poller: consuming Poller) throws(SystemError) {
    handles = container.handles
    if handles.initProcess.descriptor.isOpen {
      try poller.add(handles.initProcess.descriptor.number, token: Token.exit)
    } else {
      try handles.watchMembers(poller, token: Token.members)
      deadline = monotonicNow()
    }
    self.poller = poller
  }

  func handle(_ event: LoopEvent) throws(SystemError) -> [Effect] {
    switch event {
    case .readable(Token.exit):
      poller.remove(handles.initProcess.descriptor.number)
      try handles.watchMembers(poller, token: Token.members)
      return [.initEnded, .checkMembers]
    case .readable, .deadline, .effect(.checkMembers): return checkMembers()
    case .effect(.message(.over, _)): return [.end]
    default: return []
    }
  }

  private func checkMembers() -> [Effect] {
    let hasMembers = handles.hasMembers
    deadline = nil
    if hasMembers == false { return [.end] }
    guard hasMembers == nil, handles.hasLostInit else { return [] }
    deadline = monotonicNow() + patience
    defer { patience = min(2 * patience, Self.longestPatience) }
    return patience > Self.shortestPatience ? [.tellKeeper(.askEnd)] : []
  }
}

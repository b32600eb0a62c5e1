// SPDX-License-Identifier: Apache-2.0
internal import Application
internal import Glibc
internal import Quantities
package import State
internal import Syscalls

/// What the newest member of an application may have before its container exists.
///
/// The container is registered, then its application is asked; what is granted is written down
/// before it is announced, for the low-level runtime will make it the kernel's limit whichever
/// process dies. From then on nothing is raised until the container is found, and no process waits
/// for an answer from here.
final class InitialAllocation: LimitKeeper {
  /// What came of asking.
  enum Outcome: Equatable {
    /// In nanocores, and in bytes where memory is shared.
    case granted(cpu: Int64, memory: Int64?)
    /// There is no place for it.
    case refused(NoPlace)
  }

  /// For how long the answer is waited for: the shim waits for ten seconds.
  ///
  /// A crowded machine may take some of them to bring a broker.
  private static let patience: Nanoseconds = 8_000_000_000
  /// For how long one that has its place waits for others to give back what they do not need.
  private static let patienceInPlace: Nanoseconds = 2_000_000_000

  private var granted: [SharedResource: Int64] = [:]

  func keep(_ amount: Int64, of resource: SharedResource) -> (held: Int64, spent: Int64) {
    granted[resource] = amount
    return (amount, 0)
  }

  /// Asks for it.
  ///
  /// - Parameters:
  ///   - record: The container, which holds nothing yet.
  ///   - membership: In which application.
  ///   - most: What no application may have.
  ///   - root: Where applications are.
  /// - Returns: What came of it; unless it was granted nothing is left of it.
  /// - Throws: ``SystemError``; then nothing is left of it, either.
  static func obtain(
    _ record: MemberRecord, _ membership: ApplicationMembership, most: (cpu: Int64, memory: Int64),
    _ root: StateRoot
  ) throws(SystemError) -> Outcome {
    do throws(SystemError) {
      let outcome = try ask(record, membership, most, root)
      if case .granted = outcome { return outcome }
      leave(membership, record.nonce, root)
      return outcome
    } catch {
      leave(membership, record.nonce, root)
      throw error
    }
  }

  private static func ask(
    _ record: MemberRecord, _ membership: ApplicationMembership,
    _ most: (cpu: Int64, memory: Int64), _ root: StateRoot
  ) throws(SystemError) -> Outcome {
    let path = root.applications + "/" + membership.room
    let file = try register(record, path)
    // From now on it stays.
    let room = try ApplicationDirectory(opening: path)
    guard try room.isNamed(membership.name) else { return .refused(.taken) }
    let grant = InitialAllocation()
    let poller = try Poller()
    var timer = try DeadlineTimer()
    let timerToken: UInt64 = 1
    try poller.add(timer.descriptor.number, token: timerToken)
    let participation = try Participation(
      room, file, application: (membership.cpu, membership.memory),
      isNoChange: membership.isNoChange, most: most, on: poller, grant)
    var deadline = monotonicNow() + patience
    var isInPlace = false
    participation.seek()
    while true {
      if let refusal = participation.refusal { return .refused(refusal) }
      if let cpu = grant.granted[.cpu], record.memory == nil || grant.granted[.memory] != nil {
        participation.rest()
        return .granted(cpu: cpu, memory: grant.granted[.memory])
      }
      if !isInPlace, participation.isJoined {
        isInPlace = true
        deadline = min(deadline, monotonicNow() + patienceInPlace)
      }
      if monotonicNow() >= deadline { break }
      try timer.set(min(deadline, participation.deadline ?? .max))
      var tokens: [UInt64] = []
      try poller.wait { tokens.append($0) }
      for token in tokens {
        if token == timerToken { timer.acknowledge() } else { participation.handle(token) }
      }
      participation.tick()
    }
    guard participation.isJoined else { return .refused(.silence) }
    return .refused(.full(grant.granted[.cpu] == nil ? .cpu : .memory))
  }

  /// The room may be on its way out with the last who was in it.
  private static func register(
    _ record: MemberRecord, _ path: String
  ) throws(SystemError) -> MemberFile {
    while true {
      do throws(SystemError) {
        return try ApplicationDirectory(making: path).register(record)
      } catch {
        if error.errno != ENOENT { throw error }
      }
    }
  }

  /// Forgets a container that will never be, or is no more.
  static func leave(_ membership: ApplicationMembership, _ nonce: UInt64, _ root: StateRoot) {
    let path = root.applications + "/" + membership.room
    guard let room = ApplicationDirectory.ifThere(path) else { return }
    room.forget(nonce)
    room.removeIfEmpty()
  }
}

extension ApplicationMembership {
  /// Forgets a container that will never be.
  ///
  /// - Parameters:
  ///   - nonce: Its instance's.
  ///   - root: Where applications are.
  package func forget(_ nonce: UInt64, _ root: StateRoot) {
    InitialAllocation.leave(self, nonce, root)
  }
}

extension StateRoot {
  /// Has the supervisors of an application's members look at its limits, which have changed: programs
  /// see them.
  ///
  /// - Parameter room: The name of the application's directory.
  package func announceLimits(of room: String) {
    for path in instances() {
      guard let instance = StateDirectory.ifThere(path),
        instance.load()?.membership?.room == room, let socket = instance.connectIfPossible()
      else { continue }
      socket.send(.look)
    }
  }
}

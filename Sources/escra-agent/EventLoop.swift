// SPDX-License-Identifier: Apache-2.0
internal import Quantities
internal import Syscalls

/// The agent's one thread: descriptors that have handlers, and deadlines on CLOCK_BOOTTIME.
///
/// While no descriptor is readable and no deadline is set, the process sleeps.
final class EventLoop {
  /// A deadline that was set, for cancelling it.
  typealias Deadline = UInt64

  private let poller: Poller
  private var timer: DeadlineTimer
  private var handlers: [UInt64: () -> Void] = [:]
  private var nextToken: UInt64 = 1
  private var deadlines = DeadlineHeap()
  private var actions: [Deadline: () -> Void] = [:]
  private var isEnding = false

  private static let timerToken: UInt64 = 0

  /// Makes a loop with nothing to wait for.
  init() throws(SystemError) {
    poller = try Poller()
    timer = try DeadlineTimer.ofBootTime()
    try poller.add(timer.descriptor.number, token: Self.timerToken)
  }

  /// The time that deadlines are in.
  var now: Nanoseconds { boottimeNow() }

  /// Calls a handler whenever a descriptor is readable.
  ///
  /// - Parameters:
  ///   - number: The descriptor.
  ///   - handler: What is called.
  /// - Returns: What ``remove(_:token:)`` needs.
  /// - Throws: ``SystemError``.
  func add(_ number: Int32, _ handler: @escaping () -> Void) throws(SystemError) -> UInt64 {
    let token = makeToken()
    try poller.add(number, token: token)
    handlers[token] = handler
    return token
  }

  /// A token for ``set(_:token:reads:writes:_:)``.
  func makeToken() -> UInt64 {
    defer { nextToken += 1 }
    return nextToken
  }

  /// Adds a descriptor, or changes what is waited for.
  func set(
    _ number: Int32, token: UInt64, reads: Bool, writes: Bool, _ handler: @escaping () -> Void
  ) throws(SystemError) {
    try poller.set(number, token: token, reads: reads, writes: writes)
    handlers[token] = handler
  }

  /// Stops waiting for a descriptor; before its owner closes it.
  func remove(_ number: Int32, token: UInt64) {
    poller.remove(number)
    handlers[token] = nil
  }

  /// Calls an action once a moment has come.
  ///
  /// - Parameters:
  ///   - moment: Of CLOCK_BOOTTIME.
  ///   - action: What is called, from the loop.
  /// - Returns: The deadline.
  @discardableResult
  func at(_ moment: Nanoseconds, _ action: @escaping () -> Void) -> Deadline {
    let deadline = makeToken()
    actions[deadline] = action
    deadlines.add(moment, deadline)
    return deadline
  }

  /// Forgets a deadline; one that has passed is fine.
  func cancel(_ deadline: Deadline) { actions[deadline] = nil }

  /// Has ``run()`` return.
  func end() { isEnding = true }

  /// Waits and calls handlers until ``end()``.
  func run() throws(SystemError) {
    while !isEnding {
      runActions()
      if isEnding { return }
      try timer.set(nextMoment)
      // Handlers may remove each other, so each is looked up when its turn comes.
      try poller.wait { token in
        if token == Self.timerToken { timer.acknowledge() } else { handlers[token]?() }
      }
    }
  }

  private var nextMoment: Nanoseconds? {
    while let first = deadlines.first, actions[first.deadline] == nil { deadlines.removeFirst() }
    return deadlines.first?.moment
  }

  private func runActions() {
    while let moment = nextMoment, moment <= now, let first = deadlines.first {
      deadlines.removeFirst()
      actions.removeValue(forKey: first.deadline)?()
    }
  }
}

/// Deadlines by their moments: a binary heap.
struct DeadlineHeap {
  private var items: [(moment: Nanoseconds, deadline: UInt64)] = []

  /// The next one.
  var first: (moment: Nanoseconds, deadline: UInt64)? { items.first }

  /// Adds one.
  mutating func add(_ moment: Nanoseconds, _ deadline: UInt64) {
    items.append((moment, deadline))
    var place = items.count - 1
    while place > 0, items[place].moment < items[(place - 1) / 2].moment {
      items.swapAt(place, (place - 1) / 2)
      place = (place - 1) / 2
    }
  }

  /// Removes the next one.
  mutating func removeFirst() {
    guard let last = items.popLast(), !items.isEmpty else { return }
    items[0] = last
    var place = 0
    while true {
      var least = place
      for child in [2 * place + 1, 2 * place + 2]
      where child < items.count && items[child].moment < items[least].moment {
        least = child
      }
      if least == place { return }
      items.swapAt(place, least)
      place = least
    }
  }
}

// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Quantities
internal import Syscalls

/// The loop of a supervisor: one thread, one epoll, and a list of components.
///
/// While the container is idle no timer runs, and the loop sleeps on descriptors alone.
final class EventLoop {
  private let poller: Poller
  private var timer: DeadlineTimer
  private var first: Entry?
  private var last: Entry?
  private(set) var hasEnded = false
  /// Stack pages have been used since they were returned to the kernel last.
  private var hasUsedDeepStack = true
  /// The program's pages that only its start needs are mapped no more.
  private var hasTrimmedProgram = false

  /// A component in the list.
  ///
  /// No array: its type would be made at run time, and stay in the memory of every supervisor.
  private final class Entry {
    let component: any Component
    /// From 1 on.
    let place: UInt64
    var next: Entry?

    init(_ component: any Component, _ place: UInt64) {
      (self.component, self.place) = (component, place)
    }
  }

  /// The token of the timer; a component's tokens begin at ``offset`` times its place.
  private static let timerToken: UInt64 = 0
  private static let offset: UInt64 = 1 << 48

  /// Makes a loop without components.
  init() throws(SystemError) {
    poller = try Poller()
    timer = try DeadlineTimer()
    try poller.add(timer.descriptor.number, token: Self.timerToken)
  }

  /// Adds a component.
  ///
  /// - Parameter make: Makes it; the poller is for its descriptors, with tokens below 2^48.
  /// - Returns: The component.
  /// - Throws: ``SystemError``.
  func add<Made: Component>(
    _ make: (consuming Poller) throws(SystemError) -> Made
  ) throws(SystemError) -> Made {
    let place = (last?.place ?? 0) + 1
    let component = try make(try Poller(sharing: poller, offset: place * Self.offset))
    add(component)
    return component
  }

  /// Adds a component that has no descriptors.
  func add(_ component: any Component) {
    let entry = Entry(component, (last?.place ?? 0) + 1)
    if let last { last.next = entry } else { first = entry }
    last = entry
  }

  /// Runs until a component returns ``Effect/end``.
  func run() throws(SystemError) {
    try tellAll(.began)
    while !hasEnded { try turn() }
    try tellAll(.ended)
  }

  /// Sleeps until something happens, and handles it.
  private func turn() throws(SystemError) {
    var next = Nanoseconds.max
    var entry = first
    while let each = entry {
      if let moment = each.component.deadline, moment < next { next = moment }
      entry = each.next
    }
    try timer.set(next == .max ? nil : next)
    if next == .max, hasUsedDeepStack {
      escra_trim_stack()
      hasUsedDeepStack = false
      // Once: what is needed again and again costs 0.1 ms of each first burst if it has to be mapped.
      if !hasTrimmedProgram { escra_trim_program() }
      hasTrimmedProgram = true
    }
    var tokens: [UInt64] = []
    try poller.wait { tokens.append($0) }
    // The first component's: what other processes wrote is known before anything is decided.
    if let place = tokens.firstIndex(where: { Self.place(of: $0) == 1 }) {
      tokens.swapAt(0, place)
    }
    for token in tokens where !hasEnded { try handle(token) }
    if !hasEnded { try tellAll(.settled) }
  }

  private static func place(of token: UInt64) -> UInt64 { token / offset }

  private func handle(_ token: UInt64) throws(SystemError) {
    let place = Self.place(of: token)
    var entry = first
    while let each = entry, each.place != place { entry = each.next }
    guard let component = entry?.component, place > 0 else {
      timer.acknowledge()
      return try handleDeadlines()
    }
    if component.usesDeepStack { hasUsedDeepStack = true }
    try perform(try component.handle(.readable(token % Self.offset)))
  }

  private func handleDeadlines() throws(SystemError) {
    hasUsedDeepStack = true
    let now = monotonicNow()
    var entry = first
    while let each = entry {
      if let moment = each.component.deadline, moment <= now {
        try perform(try each.component.handle(.deadline(now)))
      }
      entry = each.next
    }
  }

  private func tellAll(_ event: LoopEvent) throws(SystemError) {
    var entry = first
    while let each = entry {
      try perform(try each.component.handle(event))
      entry = each.next
    }
  }

  /// Hands effects to every component, each with what follows from it before the next one.
  private func perform(_ effects: [Effect]) throws(SystemError) {
    for effect in effects {
      if case .end = effect { hasEnded = true }
      try tellAll(.effect(effect))
    }
  }
}

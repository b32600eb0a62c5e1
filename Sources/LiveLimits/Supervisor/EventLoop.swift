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
  private var components: [any Component] = []
  private(set) var hasEnded = false
  /// Stack pages have been used since they were returned to the kernel last.
  private var hasUsedDeepStack = true

  /// The token of the timer; a component's tokens begin at ``offset`` times its place from 1 on.
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
    let place = UInt64(components.count + 1)
    let component = try make(try Poller(sharing: poller, offset: place * Self.offset))
    components.append(component)
    return component
  }

  /// Adds a component that has no descriptors.
  func add(_ component: any Component) { components.append(component) }

  /// Runs until a component returns ``Effect/end``.
  func run() throws(SystemError) {
    try tellAll(.began)
    while !hasEnded { try turn() }
    try tellAll(.ended)
  }

  /// Sleeps until something happens, and handles it.
  private func turn() throws(SystemError) {
    var next = Nanoseconds.max
    for component in components { next = min(next, component.deadline ?? .max) }
    try timer.set(next == .max ? nil : next)
    if next == .max, hasUsedDeepStack {
      escra_trim_stack()
      hasUsedDeepStack = false
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

  private static func place(of token: UInt64) -> Int { Int(token / offset) }

  private func handle(_ token: UInt64) throws(SystemError) {
    let place = Self.place(of: token)
    guard place > 0 else {
      timer.acknowledge()
      return try handleDeadlines()
    }
    let component = components[place - 1]
    if component.usesDeepStack { hasUsedDeepStack = true }
    try perform(try component.handle(.readable(token % Self.offset)))
  }

  private func handleDeadlines() throws(SystemError) {
    hasUsedDeepStack = true
    let now = monotonicNow()
    for component in components {
      if let moment = component.deadline, moment <= now {
        try perform(try component.handle(.deadline(now)))
      }
    }
  }

  private func tellAll(_ event: LoopEvent) throws(SystemError) {
    for component in components { try perform(try component.handle(event)) }
  }

  /// Hands effects to every component, each with what follows from it before the next one.
  private func perform(_ effects: [Effect]) throws(SystemError) {
    for effect in effects {
      if case .end = effect { hasEnded = true }
      try tellAll(.effect(effect))
    }
  }
}

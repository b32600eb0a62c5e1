// SPDX-License-Identifier: Apache-2.0
package import Quantities

/// The broker of an application: a role of one of its supervisors, and a pure state machine.
///
/// Events and the time come in, what to do comes out. It knows no socket, file or clock, so that
/// the same type runs beside a container and in a simulation.
package struct Broker: Sendable {
  /// What has happened.
  package enum Event: Sendable {
    /// A frame has come.
    case message(ApplicationMessage, on: Link)
    /// A connection has closed, and everything that came by it was handed over before.
    case closed(Link)
    /// The member's supervisor is dead, and the kernel's limits, read after its death, are these,
    /// or may still become these.
    case orphaned(UInt64, cpu: Int64, memory: Int64)
    /// The member's supervisor is dead, and its container has ended.
    case gone(UInt64)
    /// ``Broker/deadline`` has come.
    case tick
  }

  /// The pool of CPU.
  package private(set) var cpu: Pool
  /// The pool of memory.
  package private(set) var memory: Pool
  /// Which broker of the application this is: each has a larger number than the one before.
  package let epoch: UInt64

  /// Takes over.
  ///
  /// - Parameters:
  ///   - epoch: Greater than that of any broker before.
  ///   - cpu: The limits in nanocores, and whose file speaks of CPU.
  ///   - memory: The limits in bytes, and whose file speaks of memory.
  ///   - most: What the machine, or its operator, has for an application.
  ///   - isCluster: Whether the limits are this node's share of an application that spans nodes.
  ///   - suspended: CLOCK_BOOTTIME less CLOCK_MONOTONIC.
  ///   - parameters: The constants; of memory nothing rests.
  ///   - now: The time.
  ///   - actions: What to do first.
  package init(
    epoch: UInt64, cpu: (limits: ApplicationLimits, registrations: [Registration]),
    memory: (limits: ApplicationLimits, registrations: [Registration]),
    most: (cpu: Int64, memory: Int64) = (.max, .max), isCluster: Bool = false,
    suspended: Nanoseconds = 0, parameters: PoolParameters = PoolParameters(), at now: Nanoseconds,
    _ actions: inout [BrokerAction]
  ) {
    self.epoch = epoch
    self.cpu = Pool(
      .cpu, epoch: epoch, limits: cpu.limits, registrations: cpu.registrations, most: most.cpu,
      isCluster: isCluster, suspended: suspended, parameters: parameters, now: now)
    var still = parameters
    still.rest = 0
    still.grain = 1 << 20
    self.memory = Pool(
      .memory, epoch: epoch, limits: memory.limits, registrations: memory.registrations,
      most: most.memory, isCluster: isCluster, suspended: suspended, parameters: still, now: now)
    for registration in cpu.registrations { actions.append(.watch(registration.nonce)) }
    for registration in memory.registrations
    where self.cpu.account(registration.nonce) == nil {
      actions.append(.watch(registration.nonce))
    }
  }

  /// CLOCK_BOOTTIME less CLOCK_MONOTONIC, which grows while the machine sleeps.
  package mutating func slept(_ suspended: Nanoseconds) {
    cpu.suspended = suspended
    memory.suspended = suspended
  }

  /// When a share ends, on CLOCK_BOOTTIME; nil while none does.
  package var shareEnd: Nanoseconds? {
    switch (cpu.shareDeadline, memory.shareDeadline) {
    case (let a?, let b?): min(a, b) + cpu.suspended
    case (let a, let b): (a ?? b).map { $0 + cpu.suspended }
    }
  }

  /// When ``Event/tick`` is due; nil while no member waits.
  package var deadline: Nanoseconds? {
    switch (cpu.deadline, memory.deadline) {
    case (let a?, let b?): min(a, b)
    case (let a, let b): a ?? b
    }
  }

  /// Takes an event.
  ///
  /// - Parameters:
  ///   - event: What has happened.
  ///   - now: The time.
  ///   - actions: What to do is added here.
  package mutating func handle(
    _ event: Event, at now: Nanoseconds, _ actions: inout [BrokerAction]
  ) {
    switch event {
    case .message(let message, let link):
      switch message.resource {
      case .cpu: cpu.receive(message, on: link, at: now, &actions)
      case .memory: memory.receive(message, on: link, at: now, &actions)
      }
    case .closed(let link):
      cpu.close(link, at: now, &actions)
      memory.close(link, at: now, &actions)
    case .orphaned(let nonce, let cores, let bytes):
      cpu.orphaned(nonce, holding: cores, at: now, &actions)
      memory.orphaned(nonce, holding: bytes, at: now, &actions)
    case .gone(let nonce):
      cpu.gone(nonce, at: now, &actions)
      memory.gone(nonce, at: now, &actions)
    case .tick:
      cpu.tick(at: now, &actions)
      memory.tick(at: now, &actions)
    }
  }
}

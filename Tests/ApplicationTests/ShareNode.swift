// SPDX-License-Identifier: Apache-2.0
import TestValues

@testable import Application
@testable import Quantities

private let core: Int64 = 1_000_000_000
private let floor = core / 20
private let agent: Link = 90

/// A broker of an application that spans nodes, with members that do what they are told.
struct ShareNode {
  var broker: Broker
  var now: Nanoseconds
  var suspended: Nanoseconds
  var limits = ApplicationLimits()
  var held: [UInt64: Int64] = [:]
  var wanted: [UInt64: Int64] = [:]
  /// Members that do not answer, as a stopped supervisor.
  var silent: Set<UInt64> = []
  var demands: [(number: UInt64, ApplicationMessage.Demand)] = []
  var refusals: [ApplicationMessage.Refusal] = []
  /// Newcomers that were told to wait for the agent.
  var waitingNewcomers: [UInt64] = []
  var welcomed: [UInt64] = []
  var fenced: [UInt64] = []
  private var sequence: [UInt64: UInt64] = [:]
  private var heard: [UInt64: UInt64] = [:]
  private var waiting: [BrokerAction] = []

  init(
    limits: ApplicationLimits = ApplicationLimits(), registered: [Registration] = [],
    isCluster: Bool = true, at now: Nanoseconds = 0, suspended: Nanoseconds = 0
  ) {
    self.limits = limits
    self.now = now
    self.suspended = suspended
    var actions: [BrokerAction] = []
    broker = Broker(
      epoch: UInt64(now) + 1, cpu: (limits, registered), memory: (ApplicationLimits(), []),
      isCluster: isCluster, suspended: suspended, at: now, &actions)
    perform(actions)
  }

  var inForce: Int64 { broker.cpu.limits.inForce }
  var sum: Int64 { held.values.reduce(0, +) }
  /// A successor, which finds what this one has written down.
  var registrations: [Registration] {
    held.map {
      Registration(nonce: $0.key, declared: core, floor: floor, ceiling: 8 * core)
    }
  }

  mutating func say(
    _ body: ApplicationMessage.Body, nonce: UInt64 = 0, on link: Link, number: UInt64? = nil
  ) {
    let next = number ?? (sequence[link] ?? 0) + 1
    sequence[link] = next
    let isJoin = if case .join = body { true } else { false }
    take(
      .message(
        ApplicationMessage(
          resource: .cpu, epoch: isJoin ? 0 : broker.epoch, nonce: nonce, sequence: next,
          acknowledged: heard[link] ?? 0, body: body), on: link))
  }

  mutating func take(_ event: Broker.Event) {
    var actions: [BrokerAction] = []
    broker.slept(suspended)
    broker.handle(event, at: now, &actions)
    perform(actions)
  }

  mutating func join(
    _ nonce: UInt64, wanted: Int64 = core, application: Int64? = nil, held: Int64 = 0,
    floor least: Int64 = floor
  ) {
    self.wanted[nonce] = wanted
    self.held[nonce] = held
    say(
      .join(
        .init(
          held: held, wanted: wanted, declared: core, floor: least, ceiling: 8 * core,
          application: application)), nonce: nonce, on: nonce)
  }

  mutating func want(_ amount: Int64, _ nonce: UInt64) {
    wanted[nonce] = amount
    say(.grow(.init(held: held[nonce] ?? 0, wanted: amount)), nonce: nonce, on: nonce)
  }

  mutating func share(
    _ limit: Int64, minimum: Int64, until: Nanoseconds?, on link: Link = agent,
    number: UInt64? = nil
  ) {
    say(.share(.init(limit: limit, minimum: minimum, deadline: until)), on: link, number: number)
  }

  private mutating func perform(_ actions: [BrokerAction]) {
    // What follows from an answer comes behind what was said before.
    let isBusy = !waiting.isEmpty
    waiting += actions
    if isBusy { return }
    while let action = waiting.first {
      switch action {
      case .limits(.cpu, let limits): self.limits = limits
      case .send(let message, let link): receive(message, on: link)
      case .fence(let nonce): fenced.append(nonce)
      default: break
      }
      waiting.removeFirst()
    }
  }

  private mutating func receive(_ message: ApplicationMessage, on link: Link) {
    if message.nonce == link { heard[link] = message.sequence }
    switch message.body {
    case .grant(let limit): if !silent.contains(link) { held[link] = limit }
    case .recall(let limit):
      guard !silent.contains(link) else { return }
      held[link] = limit
      say(.giveBack(.init(held: limit, wanted: wanted[link] ?? 0)), nonce: link, on: link)
    case .figures: waitingNewcomers.append(message.nonce)
    case .welcome: welcomed.append(message.nonce)
    case .demand(let demand): demands.append((message.acknowledged, demand))
    case .refuse(let reason, _): refusals.append(reason)
    default: break
    }
  }

  /// Lets time pass, and does what is due.
  mutating func wait(_ time: Nanoseconds) {
    let end = now + time
    while let next = broker.deadline, next <= end {
      now = max(now, next)
      take(.tick)
    }
    now = end
  }
}

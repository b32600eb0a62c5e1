// SPDX-License-Identifier: Apache-2.0
import TestValues
import Testing

@testable import Control
@testable import Quantities

private struct World: CPUController.Environment {
  var contended = false
  var frozen = false
  func wasContended() -> Bool { contended }
  func isFrozen() -> Bool { frozen }
}

@Suite struct HeadroomControllerTests {
  private func simulation(
    quota: Nanoseconds = 50 * ms, floor: Nanoseconds = 5 * ms, ceiling: Nanoseconds = 200 * ms,
    phase: Nanoseconds = 0, hook: LimitSimulation.Hook = .none
  ) -> LimitSimulation {
    LimitSimulation(
      .headroom(.standard), quota: quota, floor: floor, ceiling: ceiling, phase: phase, hook: hook)
  }

  private func controller(quota: Nanoseconds, ceiling: Nanoseconds) -> CPUController {
    CPUController(
      .init(period: 100 * ms, cpus: 2, quietUse: ms, hasAlarm: true), quota: quota,
      bounds: QuotaBounds(floor: 5 * ms, ceiling: ceiling), now: 0, usage: 0)
  }

  @Test func `what a container starts with is there for two seconds`() {
    var simulation = simulation()
    simulation.run(1900 * ms)
    #expect(simulation.writes.isEmpty)
    simulation.run(400 * ms)
    #expect(simulation.kernel.quota == 5 * ms)
    #expect(simulation.writes.map(\.rule) == [.rest])
  }

  @Test func `an update in the first two seconds does not end them`() {
    var controller = controller(quota: 200 * ms, ceiling: 200 * ms)
    let bounds = QuotaBounds(floor: 5 * ms, ceiling: 150 * ms)
    var deadline = controller.adopt(quota: 150 * ms, bounds: bounds, now: 100 * ms, usage: 0)
      .deadline
    while let now = deadline, now < 2000 * ms {
      let step = controller.observe(usage: 0, at: now, surroundings: World())
      #expect(step.decision == nil)
      deadline = step.deadline
    }
    let last = controller.observe(usage: 0, at: deadline ?? 0, surroundings: World())
    #expect(last.decision == QuotaDecision(quota: 5 * ms, rule: .rest))
  }

  @Test func `the first burst may have more than it starts with, but not less afterwards`() {
    var simulation = simulation()
    simulation.backlog = [150 * ms, 0]
    simulation.run(1900 * ms)
    #expect(simulation.kernel.throttled < 5 * ms)
    #expect(simulation.kernel.quota >= 50 * ms)
  }

  @Test func `at rest nothing wakes the supervisor`() {
    var simulation = simulation()
    simulation.run(3000 * ms)
    let before = simulation.readings
    simulation.run(60_000 * ms)
    #expect(simulation.readings == before)
  }

  @Test(
    arguments: stride(from: 0, to: 100, by: 7).map { Nanoseconds($0) },
    LimitSimulation.Hook.allCases)
  func `a burst of 30 ms out of rest is done in less than 35, at any phase of the period`(
    phase: Nanoseconds, hook: LimitSimulation.Hook
  ) {
    var simulation = simulation(phase: phase * ms, hook: hook)
    simulation.run(3000 * ms)
    simulation.backlog = [30 * ms, 0]
    simulation.run(35 * ms)
    #expect(simulation.backlog[0] == 0)
  }

  @Test(arguments: stride(from: 0, to: 100, by: 7).map { Nanoseconds($0) })
  func `with hooks one thread is not throttled at all, and a busy container is looked at rarely`(
    phase: Nanoseconds
  ) {
    var simulation = simulation(phase: phase * ms, hook: .seeing)
    simulation.run(3000 * ms)
    let before = simulation.readings
    simulation.backlog = [30 * ms, 0]
    simulation.run(1000 * ms)
    #expect(simulation.kernel.throttled == 0)
    // A look at each period's end while it works, and one at which it goes to rest.
    #expect(simulation.readings - before <= 4)
  }

  @Test func `what a resting container uses below a fifth of its floor wakes nobody`() {
    var simulation = simulation(hook: .seeing)
    simulation.run(3000 * ms)
    let before = simulation.readings
    simulation.run(10_000 * ms) { now, backlog in
      if now % (100 * ms) == 50 * ms { backlog[0] += ms / 2 }
    }
    #expect(simulation.readings == before)
    #expect(simulation.kernel.quota == 5 * ms)
  }

  @Test func `what the hooks' widest margin tells of is no reason to raise before the law's is`() {
    var controller = controller(quota: 60 * ms, ceiling: 200 * ms)
    let step = controller.hear(
      .init(.runningOut(left: 9 * ms), periodEnd: 90 * ms), usage: 51 * ms, at: 60 * ms,
      surroundings: World())
    #expect(step.decision == nil)
    let closer = controller.hear(
      .init(.runningOut(left: 4 * ms), periodEnd: 90 * ms), usage: 56 * ms, at: 65 * ms,
      surroundings: World())
    #expect(closer.decision?.rule == .predicted)
  }

  @Test func `a hook's word in a period that has had its raise is remembered until the next one`() {
    var controller = controller(quota: 20 * ms, ceiling: 200 * ms)
    let raise = controller.hear(
      .init(.throttled), usage: 19 * ms, at: 90 * ms, surroundings: World())
    #expect(raise.decision != nil)
    _ = controller.observe(usage: 29 * ms, at: 100 * ms, surroundings: World())
    let refused = controller.hear(
      .init(.runningOut(left: ms), periodEnd: 200 * ms), usage: 140 * ms, at: 150 * ms,
      surroundings: World())
    #expect(refused.decision == nil)
    #expect(refused.deadline == 190 * ms)
  }

  @Test func `when demand ends the quota goes in half a second, in one step or two`() {
    var simulation = simulation()
    simulation.backlog = [5000 * ms, 0]
    simulation.run(5100 * ms)
    let count = simulation.writes.count
    simulation.run(500 * ms)
    #expect(simulation.kernel.quota == 5 * ms)
    #expect(simulation.writes.count - count <= 2)
  }

  @Test func `a hook that says when the period ends gets what is due now and the rest then`() {
    var controller = controller(quota: 50 * ms, ceiling: 100 * ms)
    // Two threads have used 45 ms in 22.5; the period ends in 10.
    let now = 22 * ms + ms / 2
    let first = controller.hear(
      .init(.runningOut(left: 5 * ms), periodEnd: now + 10 * ms), usage: 45 * ms, at: now,
      surroundings: World())
    // Blind it would have been 77: that much twice. 50 of 100 are kept back for the next period.
    // What is due is less than the 50 that it had, and a refill all the same.
    #expect(first.decision == QuotaDecision(quota: 37 * ms + ms / 2, rule: .advance))
    #expect(first.deadline == now + 10 * ms + ms / 5)
    let second = controller.observe(
      usage: 55 * ms, at: now + 10 * ms + ms / 5, surroundings: World())
    #expect(second.decision?.rule == .due)
    #expect(second.decision?.quota == 100 * ms)
  }

  @Test(
    arguments: [LimitSimulation.Hook.blind, .seeing], [Nanoseconds(100 * ms), 200 * ms, 350 * ms])
  func `what wakes for a moment now and then is given no core for it`(
    hook: LimitSimulation.Hook, every: Nanoseconds
  ) {
    var simulation = simulation(hook: hook)
    func wake(_ now: Nanoseconds, _ backlog: inout [Nanoseconds]) {
      if now % every == 0 { backlog[0] += 900_000 }
    }
    simulation.run(3000 * ms, arrive: wake)
    let count = simulation.writes.count
    simulation.run(5000 * ms, arrive: wake)
    #expect(simulation.kernel.quota == 5 * ms)
    #expect(simulation.writes.count == count)
    #expect(simulation.kernel.throttled == 0)
  }

  @Test func `what is left may last until the refill: then nothing is written`() {
    var controller = controller(quota: 50 * ms, ceiling: 100 * ms)
    let step = controller.hear(
      .init(.runningOut(left: 5 * ms), periodEnd: 48 * ms), usage: 45 * ms, at: 45 * ms,
      surroundings: World())
    #expect(step.decision == nil)
  }

  @Test func `a throttle that a hook tells of is answered at once, and counted`() {
    var controller = controller(quota: 20 * ms, ceiling: 200 * ms)
    let step = controller.hear(
      .init(.throttled), usage: 19 * ms, at: 10 * ms, surroundings: World())
    #expect(step.decision?.quota ?? 0 > 100 * ms)
    #expect(controller.counters.throttles == 1)
    // The other threads' events of the same period change nothing any more.
    let again = controller.hear(
      .init(.throttled, periodEnd: 90 * ms), usage: 19 * ms, at: 11 * ms, surroundings: World())
    #expect(again.decision == nil)
    #expect(controller.counters.stalled == 79 * ms)
  }

  @Test func `an event wakes a container that rests, as the alarm does`() {
    var controller = controller(quota: 5 * ms, ceiling: 200 * ms)
    var now: Nanoseconds = 0
    while let deadline = controller.observe(usage: 0, at: now, surroundings: World()).deadline {
      now = deadline
      if now > 10_000 * ms { break }
    }
    let step = controller.hear(
      .init(.throttled), usage: 5 * ms, at: now + 5000 * ms, surroundings: World())
    #expect(step.decision == .init(quota: 120 * ms, rule: .jumpStart))
  }

  @Test func `a paused container keeps its quota, and one that could not run does`() {
    for world in [World(contended: true), World(frozen: true)] {
      var controller = controller(quota: 200 * ms, ceiling: 200 * ms)
      var now: Nanoseconds = 0
      var usage: Nanoseconds = 0
      for _ in 0..<200 {
        let step = controller.observe(usage: usage, at: now, surroundings: world)
        now = step.deadline ?? now + 100 * ms
        usage += 3 * ms
      }
      #expect(controller.quota == 200 * ms)
    }
  }

  @Test(arguments: stride(from: 0, to: 100, by: 9).map { Nanoseconds($0) }, [20, 30, 60, 100])
  func `a raise that the books refuse comes as soon as they allow it`(
    phase: Nanoseconds, ceiling: Nanoseconds
  ) {
    var simulation = simulation(
      quota: ceiling * 4 / 5 * ms, ceiling: ceiling * ms, phase: phase * ms)
    simulation.run(3000 * ms)
    simulation.backlog = [5000 * ms, 5000 * ms]
    simulation.run(2000 * ms)
    #expect(simulation.kernel.quota == ceiling * ms)
    // It got what it may have.
    #expect(simulation.kernel.used > ceiling * 19 * ms)
  }
}

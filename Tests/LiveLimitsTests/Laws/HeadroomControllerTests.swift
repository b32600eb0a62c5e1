// SPDX-License-Identifier: Apache-2.0
import Syscalls
import Testing

@testable import LiveLimits

private let ms: Nanoseconds = 1_000_000

private struct World: CPUController.Surroundings {
  var contended = false
  var frozen = false
  func wasContended() -> Bool { contended }
  func isFrozen() -> Bool { frozen }
}

@Suite struct HeadroomControllerTests {
  private func simulation(
    quota: Nanoseconds = 50 * ms, floor: Nanoseconds = 5 * ms, ceiling: Nanoseconds = 200 * ms,
    phase: Nanoseconds = 0, hook: LawSimulation.Hook = .none
  ) -> LawSimulation {
    var simulation = LawSimulation(
      .headroom(.standard), quota: quota, floor: floor, ceiling: ceiling, phase: phase)
    simulation.hook = hook
    return simulation
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

  @Test(arguments: stride(from: 0, to: 100, by: 7).map { Nanoseconds($0) })
  func `a burst of 30 ms out of rest is done in less than 35, at any phase of the period`(
    phase: Nanoseconds
  ) {
    var simulation = simulation(phase: phase * ms)
    simulation.run(3000 * ms)
    simulation.backlog = [30 * ms, 0]
    simulation.run(35 * ms)
    #expect(simulation.backlog[0] == 0)
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
    #expect(first.decision == nil, "what is due is no more than the 50 that it has")
    #expect(first.deadline == now + 10 * ms + ms / 5)
    let second = controller.observe(
      usage: 55 * ms, at: now + 10 * ms + ms / 5, surroundings: World())
    #expect(second.decision?.rule == .due)
    #expect(second.decision?.quota == 100 * ms)
  }

  @Test func `what is left may last until the refill: then nothing is written`() {
    var controller = controller(quota: 50 * ms, ceiling: 100 * ms)
    let step = controller.hear(
      .init(.runningOut(left: 5 * ms), periodEnd: 48 * ms), usage: 45 * ms, at: 45 * ms,
      surroundings: World())
    #expect(step.decision == nil)
    #expect(controller.counters.raises == 0)
  }

  @Test func `a throttle that a hook tells of is answered at once, and counted`() {
    var controller = controller(quota: 20 * ms, ceiling: 200 * ms)
    let step = controller.hear(
      .init(.throttled), usage: 19 * ms, at: 10 * ms, surroundings: World())
    #expect(step.decision?.quota ?? 0 > 100 * ms)
    #expect(controller.counters.throttles == 1)
    #expect(controller.counters.raises == 1)
    #expect(controller.counters.predictions == 0)
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

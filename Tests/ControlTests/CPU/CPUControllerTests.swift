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

/// A container as the kernel would run it: demand in, use out, never more than the quota a period.
private struct SimulatedContainer {
  var time: Nanoseconds = 0
  var usage: Nanoseconds = 0
  var left: Nanoseconds
  var controller: CPUController
  var writes: [(time: Nanoseconds, quota: Nanoseconds, rule: Rule)] = []
  var readings = 0
  var deadline: Nanoseconds?
  var isArmed = false
  var counted: Nanoseconds = 0
  var world = World()

  init(
    quota: Nanoseconds, floor: Nanoseconds = 5 * ms, ceiling: Nanoseconds, cpus: Int64 = 2,
    hasAlarm: Bool = true, law: ControlLaw.Parameters = .escra(.published)
  ) {
    left = quota
    controller = CPUController(
      .init(period: 100 * ms, cpus: cpus, quietUse: floor / 5, hasAlarm: hasAlarm, law: law),
      quota: quota, bounds: QuotaBounds(floor: floor, ceiling: ceiling), now: 0, usage: 0)
    deadline = 100 * ms
  }

  /// Runs for `duration` at `demand` CPUs, a tenth of a millisecond at a time.
  mutating func run(_ duration: Nanoseconds, demand: Double) {
    let end = time + duration
    let tick = ms / 10
    while time < end {
      time += tick
      if time % (100 * ms) == 0 { left = controller.quota }
      let wanted = world.frozen ? 0 : Nanoseconds(demand * Double(tick))
      let used = max(0, min(wanted, left))
      usage += used
      left -= used
      counted += used
      var called = false
      if isArmed && counted >= ms {
        isArmed = false
        called = true
      }
      guard called || deadline.map({ time >= $0 }) == true else { continue }
      readings += 1
      let step = controller.observe(
        usage: usage, at: time, called: called, surroundings: world)
      deadline = step.deadline
      if step.armsAlarm {
        isArmed = true
        counted = 0
      }
      if let decision = step.decision {
        writes.append((time, decision.quota, decision.rule))
        left = decision.quota
      }
    }
  }
}

@Suite struct CPUControllerTests {
  @Test func `a limit that is shared is asked for once a period, and goes on from what is granted`()
  {
    var parameters = CPUController.Parameters(
      period: 100 * ms, cpus: 2, quietUse: ms, hasAlarm: true, law: .headroom(.standard))
    parameters.isShared = true
    var controller = CPUController(
      parameters, quota: 20 * ms, bounds: QuotaBounds(floor: 5 * ms, ceiling: 200 * ms), now: 0,
      usage: 0)
    var asked: [Nanoseconds] = []
    // It uses all that it has, and is granted nothing for a second.
    for time in stride(from: ms, through: 1000 * ms, by: Int(ms)) {
      let used = (time / (100 * ms)) * 20 * ms + min(20 * ms, time % (100 * ms))
      let step = controller.observe(usage: used, at: time, surroundings: World())
      guard let decision = step.decision else { continue }
      asked.append(decision.quota)
      controller.hold(20 * ms)
    }
    #expect((5...10).contains(asked.count), "\(asked)")
    #expect(asked.allSatisfy { $0 > 20 * ms })
    controller.hold(60 * ms)
    #expect(controller.quota == 60 * ms)
  }

  @Test func `an idle container ends at the floor and then nothing wakes`() {
    var container = SimulatedContainer(quota: 100 * ms, ceiling: 100 * ms)
    container.run(5000 * ms, demand: 0)
    #expect(container.controller.quota == 5 * ms)
    #expect(container.writes.last?.rule == .idle)
    #expect(container.deadline == nil)
    let before = container.readings
    container.run(600_000 * ms, demand: 0)
    #expect(container.readings == before)
  }

  @Test func `a container that wakes is given a core before its small quota is used up`() {
    var container = SimulatedContainer(quota: 100 * ms, ceiling: 200 * ms)
    container.run(5000 * ms, demand: 0)
    let woken = container.time
    container.writes = []
    container.run(100 * ms, demand: 1)
    #expect(container.writes.first?.rule == .jumpStart)
    #expect(container.writes.first?.quota == 100 * ms)
    #expect((container.writes.first?.time ?? .max) - woken <= 5 * ms)
    #expect(container.usage == 100 * ms, "it was never throttled")
  }

  @Test func `a call after idle raises at once, whatever the use shows by then`() {
    var container = SimulatedContainer(quota: 100 * ms, ceiling: 200 * ms)
    container.run(5000 * ms, demand: 0)
    // The quota is stranded on another CPU: the alarm has called, and the use stands still.
    let step = container.controller.observe(
      usage: container.usage, at: container.time, called: true, surroundings: container.world)
    #expect(step.decision == .init(quota: 100 * ms, rule: .jumpStart))
  }

  @Test func `a call cuts nothing: it has seen no period`() {
    var container = SimulatedContainer(quota: 200 * ms, ceiling: 200 * ms)
    container.world.frozen = true
    container.run(5000 * ms, demand: 0)
    container.world.frozen = false
    let step = container.controller.observe(
      usage: container.usage + ms, at: container.time, called: true,
      surroundings: container.world)
    #expect(step.decision == nil)
    #expect(container.controller.quota == 200 * ms)
  }

  @Test func `demand above the quota is met within a few periods`() {
    var container = SimulatedContainer(quota: 100 * ms, ceiling: 200 * ms)
    container.run(1000 * ms, demand: 2)
    #expect(container.controller.quota == 200 * ms)
  }

  @Test func `at the ceiling a busy container costs one reading a period`() {
    var container = SimulatedContainer(quota: 200 * ms, ceiling: 200 * ms)
    container.run(1000 * ms, demand: 2)
    container.readings = 0
    container.run(10_000 * ms, demand: 2)
    #expect((95...105).contains(container.readings))
  }

  @Test func `no more than one raise a period`() {
    var container = SimulatedContainer(quota: 10 * ms, ceiling: 1600 * ms, cpus: 16)
    container.run(2000 * ms, demand: 16)
    let raises = container.writes.filter { $0.rule == .scaleUp || $0.rule == .jumpStart }
    #expect(raises.count > 2)
    for (earlier, later) in zip(raises, raises.dropFirst()) {
      #expect(later.time - earlier.time >= 100 * ms)
    }
  }

  @Test func `a paused container keeps its quota`() {
    var container = SimulatedContainer(quota: 100 * ms, ceiling: 200 * ms)
    container.run(1000 * ms, demand: 0.99)
    let before = container.controller.quota
    container.world.frozen = true
    container.run(10_000 * ms, demand: 1)
    #expect(container.controller.quota == before)
    container.world.frozen = false
    container.run(1000 * ms, demand: 0.99)
    #expect(container.controller.quota >= before - 10 * ms)
  }

  @Test func `a paused container that stays idle when it is resumed goes to the floor`() {
    var container = SimulatedContainer(quota: 100 * ms, ceiling: 200 * ms)
    container.run(1000 * ms, demand: 0.99)
    container.world.frozen = true
    container.run(10_000 * ms, demand: 0)
    container.world.frozen = false
    container.run(4000 * ms, demand: 0)
    #expect(container.controller.quota == container.controller.bounds.floor)
  }

  @Test func `a container that could not run keeps its quota`() {
    var container = SimulatedContainer(quota: 200 * ms, ceiling: 200 * ms)
    container.world.contended = true
    container.run(5000 * ms, demand: 0.3)
    #expect(container.controller.quota == 200 * ms)
    container.world.contended = false
    container.run(5000 * ms, demand: 0.3)
    #expect(container.controller.quota < 50 * ms)
  }

  @Test(arguments: [0.05, 0.3, 0.7, 1.3, 1.9])
  func `steady demand is served, and its quota is not far above it`(demand: Double) {
    var container = SimulatedContainer(quota: 200 * ms, ceiling: 200 * ms)
    container.run(10_000 * ms, demand: demand)
    let before = container.usage
    container.run(10_000 * ms, demand: demand)
    let served = Double(container.usage - before) / Double(10_000 * ms)
    #expect(served > 0.97 * demand)
    #expect(Double(container.controller.quota) / Double(100 * ms) <= 1.3 * demand + 0.7)
  }

  @Test func `without an alarm it looks twenty times a second and still reacts`() {
    var container = SimulatedContainer(
      quota: 100 * ms, floor: 50 * ms, ceiling: 200 * ms, hasAlarm: false)
    container.run(5000 * ms, demand: 0)
    #expect(container.controller.quota == 50 * ms)
    container.readings = 0
    container.run(10_000 * ms, demand: 0)
    #expect(container.readings <= 201)
    let woken = container.time
    container.writes = []
    container.run(200 * ms, demand: 1)
    #expect((container.writes.first?.time ?? .max) - woken <= 101 * ms)
  }

  @Test func `with hooks that come later an idle container goes to the floor that they allow`() {
    var container = SimulatedContainer(
      quota: 100 * ms, floor: 50 * ms, ceiling: 200 * ms, hasAlarm: false)
    container.run(5000 * ms, demand: 0)
    container.controller.gainHooks(bounds: QuotaBounds(floor: 5 * ms, ceiling: 200 * ms))
    container.run(1000 * ms, demand: 0)
    #expect(container.controller.quota == 5 * ms)
    container.readings = 0
    container.run(10_000 * ms, demand: 0)
    #expect(container.readings == 0)
  }

  @Test(arguments: [true, false])
  func `hooks spare looks where the kernel has the quota that they speak of`(isWritten: Bool) {
    var parameters = CPUController.Parameters(
      period: 100 * ms, cpus: 2, quietUse: ms, hasAlarm: true, law: .headroom(.standard))
    parameters.hasHooks = true
    parameters.keepsBooks = isWritten
    var controller = CPUController(
      parameters, quota: 20 * ms, bounds: QuotaBounds(floor: 5 * ms, ceiling: 200 * ms), now: 0,
      usage: 0)
    let step = controller.observe(usage: 5 * ms, at: 5 * ms, surroundings: World())
    #expect(step.deadline.map { $0 >= 100 * ms } == isWritten)
  }

  @Test func `a quota from elsewhere is the new start`() {
    var container = SimulatedContainer(quota: 100 * ms, ceiling: 100 * ms)
    container.run(300 * ms, demand: 1)
    let step = container.controller.adopt(
      quota: 150 * ms, bounds: QuotaBounds(floor: 5 * ms, ceiling: 150 * ms), now: container.time,
      usage: container.usage)
    #expect(container.controller.quota == 150 * ms)
    #expect(step.decision == nil)
    #expect((step.deadline ?? 0) > container.time)
  }
}

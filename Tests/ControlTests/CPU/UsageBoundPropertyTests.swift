// SPDX-License-Identifier: Apache-2.0
import TestValues
import Testing

@testable import Control
@testable import Quantities

/// A container with random bounds, and a demand that comes and goes at random.
struct Trial {
  var simulation: LimitSimulation
  private var random: SeededGenerator
  private var until: Nanoseconds = 0
  private var threads = 0

  init(seed: UInt64, law: ControlLaw.Parameters, hook: LimitSimulation.Hook, keepsBooks: Bool) {
    var random = SeededGenerator(seed: seed)
    let period = [20 * ms, 50 * ms, 100 * ms, 250 * ms].randomElement(using: &random) ?? 100 * ms
    let cpus = Int.random(in: 1...6, using: &random)
    let most = Nanoseconds(cpus) * period
    let ceiling = Nanoseconds.random(in: max(2 * ms, most / 20)...most, using: &random)
    // A high floor makes raises that are small, and so frequent.
    let floor = ceiling * Nanoseconds.random(in: 2...95, using: &random) / 100
    simulation = LimitSimulation(
      law, quota: Nanoseconds.random(in: max(ms, floor)...ceiling, using: &random),
      floor: max(ms, floor), ceiling: ceiling, cpus: cpus, period: period,
      phase: Nanoseconds.random(in: 0..<period, using: &random),
      hasAlarm: Bool.random(using: &random), keepsBooks: keepsBooks, hook: hook)
    var dice = SeededGenerator(seed: seed ^ 0xffff)
    simulation.lateness = {
      UInt8.random(in: 0..<20, using: &dice) == 0
        ? Nanoseconds.random(in: 0...3 * ms, using: &dice) : 0
    }
    self.random = random
    self.period = period
  }

  private let period: Nanoseconds

  mutating func run(_ duration: Nanoseconds) {
    var random = random
    var until = until
    var threads = threads
    let period = period
    simulation.run(duration) { now, backlog in
      if now >= until {
        threads =
          Bool.random(using: &random) ? Int.random(in: 1...backlog.count, using: &random) : 0
        let longest = Bool.random(using: &random) ? period / 4 : 8 * period
        until = now + Nanoseconds.random(in: ms / 2...longest, using: &random)
      }
      for cpu in backlog.indices { backlog[cpu] = cpu < threads ? BandwidthModel.step : 0 }
    }
    (self.random, self.until, self.threads) = (random, until, threads)
  }
}

@Suite struct UsageBoundPropertyTests {
  private static let laws: [ControlLaw.Parameters] = [.escra(.published), .headroom(.standard)]

  private func trials(
    _ law: ControlLaw.Parameters, _ hook: LimitSimulation.Hook, keepsBooks: Bool
  ) -> [LimitSimulation] {
    (UInt64(20)...43).map { seed in
      var trial = Trial(seed: seed, law: law, hook: hook, keepsBooks: keepsBooks)
      trial.run(3000 * ms)
      return trial.simulation
    }
  }

  @Test(arguments: laws, LimitSimulation.Hook.allCases)
  func `in no window is more used than the limit, one period's worth and a tick a CPU`(
    law: ControlLaw.Parameters, hook: LimitSimulation.Hook
  ) {
    for (seed, simulation) in trials(law, hook, keepsBooks: true).enumerated() {
      #expect(
        simulation.excess <= simulation.depth + simulation.allowance,
        "seed \(seed + 20): \(simulation.excess / ms) ms of \(simulation.depth / ms) ms")
      // What is due at a boundary is the next period's raise, a moment later.
      let raises = simulation.writes.filter {
        $0.quota > $0.before && $0.rule != .due || $0.rule == .advance
      }
      let returns = simulation.writes.filter { $0.quota < $0.before && $0.rule != .advance }
      for list in [raises, returns] {
        for (earlier, later) in zip(list, list.dropFirst()) {
          #expect(later.time - earlier.time >= simulation.period, "seed \(seed + 20)")
        }
      }
    }
  }

  @Test(arguments: laws, LimitSimulation.Hook.allCases)
  func `without the books the same demand gets more than that`(
    law: ControlLaw.Parameters, hook: LimitSimulation.Hook
  ) {
    let broken = trials(law, hook, keepsBooks: false).count {
      $0.excess > $0.depth + $0.allowance
    }
    #expect(broken > 0)
  }
}

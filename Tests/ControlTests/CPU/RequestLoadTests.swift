// SPDX-License-Identifier: Apache-2.0
import TestValues
import Testing

@testable import Control
@testable import Quantities

/// A service on one thread, well within the limit that it declares: 400 requests a second at
/// random, 1 ms of CPU each, under a CPU.
@Suite struct RequestLoadTests {
  private func simulate(
    _ law: ControlLaw.Parameters?, _ hook: LimitSimulation.Hook, seed: UInt64
  ) -> LimitSimulation {
    var simulation = LimitSimulation(
      law, quota: 100 * ms, floor: 5 * ms, ceiling: 100 * ms, cpus: 2,
      phase: Nanoseconds(seed) * 13 * ms % (100 * ms), hook: hook)
    var random = SeededGenerator(seed: seed)
    simulation.run(60_000 * ms) { now, backlog in
      // Four seconds of work, one of rest.
      guard now % (5000 * ms) < 4000 * ms else { return }
      if Int.random(in: 0..<25, using: &random) == 0 { backlog[0] += ms }
    }
    return simulation
  }

  @Test(arguments: [LimitSimulation.Hook.seeing, .blind, .none], [UInt64(1), 2, 3, 4, 5])
  func `requests within a limit that is ample wait for it next to never`(
    hook: LimitSimulation.Hook, seed: UInt64
  ) {
    #expect(simulate(nil, hook, seed: seed).kernel.throttled == 0)
    let simulation = simulate(.headroom(.standard), hook, seed: seed)
    #expect(simulation.excess <= simulation.depth + simulation.allowance)
    // Whoever samples finds out at its next look.
    #expect(simulation.kernel.throttled <= (hook == .none ? 30 * ms : 0))
  }
}

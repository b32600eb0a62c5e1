// SPDX-License-Identifier: Apache-2.0
import TestValues
import Testing

@testable import Control
@testable import Quantities

/// Services as an application has them: requests at random, so much CPU time each, on a thread.
private enum Service: CaseIterable {
  case page, store, compressor

  func work(_ random: inout SeededGenerator) -> Nanoseconds {
    let perSecond = 500
    guard Int.random(in: 0..<(10_000 / perSecond), using: &random) == 0 else { return 0 }
    switch self {
    case .page: return 8 * ms / 10
    case .store: return ms / 10
    case .compressor: return Int.random(in: 0..<10, using: &random) < 3 ? ms : ms / 10
    }
  }
}

@Suite struct ServiceLoadTests {
  private func simulate(_ service: Service, isShared: Bool, seed: UInt64) -> LimitSimulation {
    var law = HeadroomLaw.Parameters.standard
    law.settling = 0
    var simulation = LimitSimulation(
      .headroom(law), quota: 60 * ms, floor: ms, ceiling: 100 * ms,
      phase: Nanoseconds(seed) * 13 * ms % (100 * ms), hook: .seeing, isShared: isShared)
    var random = SeededGenerator(seed: seed)
    simulation.run(20_000 * ms) { _, backlog in backlog[0] += service.work(&random) }
    return simulation
  }

  @Test(arguments: Service.allCases, [UInt64(1), 2, 3])
  private func `a service that can be raised promptly is given less ahead, and waits for nothing`(
    service: Service, seed: UInt64
  ) {
    let alone = simulate(service, isShared: false, seed: seed)
    let shared = simulate(service, isShared: true, seed: seed)
    #expect(shared.slack < alone.slack * 9 / 10)
    #expect(shared.kernel.throttled == 0)
  }

  @Test func `over all loads prompt raises leave less slack, and throttle less`() {
    func total(isShared: Bool) -> (slack: Nanoseconds, throttled: Nanoseconds) {
      Load.allCases.reduce(into: (0, 0)) { total, load in
        var simulation = LimitSimulation(
          .headroom(.standard), quota: 50 * ms, floor: 5 * ms, ceiling: 200 * ms, phase: 37 * ms,
          hook: .seeing, isShared: isShared)
        simulation.run(30_000 * ms) { now, backlog in
          for (thread, work) in load.work(at: now).enumerated() { backlog[thread] += work }
        }
        total.slack += simulation.slack
        total.throttled += simulation.kernel.throttled
      }
    }
    let (alone, shared) = (total(isShared: false), total(isShared: true))
    #expect(shared.slack < alone.slack * 3 / 4)
    #expect(shared.throttled < alone.throttled / 2)
  }
}

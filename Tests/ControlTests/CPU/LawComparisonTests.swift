// SPDX-License-Identifier: Apache-2.0
import TestValues
import Testing

@testable import Control
@testable import Quantities

/// What a law made of a load, in half a minute.
private struct Outcome {
  let throttled: Nanoseconds
  let slack: Nanoseconds
  let writes: Int
  let unserved: Nanoseconds

  /// A container of half a core that may have two, under a law; under none its limit stays.
  init(_ load: Load, _ law: ControlLaw.Parameters?, _ hook: LimitSimulation.Hook = .none) {
    var simulation = LimitSimulation(
      law, quota: 50 * ms, floor: 5 * ms, ceiling: 200 * ms, phase: 37 * ms, hook: hook)
    simulation.run(30_000 * ms) { now, backlog in
      for (thread, work) in load.work(at: now).enumerated() { backlog[thread] += work }
    }
    throttled = simulation.kernel.throttled
    slack = simulation.slack
    writes = simulation.writes.count
    unserved = simulation.backlog.reduce(0, +)
  }
}

@Suite struct LawComparisonTests {
  private static let headroom = ControlLaw.Parameters.headroom(.standard)
  private static let escra = ControlLaw.Parameters.escra(.published)

  @Test func `over all loads headroom throttles less than escra, and escra less than nothing`() {
    let loads = Load.allCases
    let none = loads.map { Outcome($0, nil) }.reduce(0) { $0 + $1.throttled }
    let escra = loads.map { Outcome($0, Self.escra) }
    let headroom = loads.map { Outcome($0, Self.headroom) }
    #expect(headroom.reduce(0) { $0 + $1.throttled } < escra.reduce(0) { $0 + $1.throttled })
    #expect(escra.reduce(0) { $0 + $1.throttled } < none / 50)
    #expect(headroom.reduce(0) { $0 + $1.slack } < escra.reduce(0) { $0 + $1.slack })
    #expect(headroom.reduce(0) { $0 + $1.writes } < escra.reduce(0) { $0 + $1.writes } / 2)
    #expect(headroom.allSatisfy { $0.unserved < 50 * ms })
  }

  @Test(arguments: [Load.requests, .steady])
  func `a demand that repeats is met without a throttle, with less slack and hardly a write`(
    load: Load
  ) {
    let escra = Outcome(load, Self.escra)
    let headroom = Outcome(load, Self.headroom)
    #expect(headroom.throttled == 0)
    #expect(headroom.slack < escra.slack)
    #expect(headroom.writes <= 2)
    #expect(escra.writes > 50)
  }

  @Test(arguments: [Load.batches, .random])
  func `rare bursts leave less slack behind`(load: Load) {
    let none = Outcome(load, nil)
    let escra = Outcome(load, Self.escra)
    let headroom = Outcome(load, Self.headroom)
    #expect(headroom.slack < escra.slack)
    #expect(headroom.throttled < none.throttled / 20)
  }

  @Test(arguments: [Load.batches, .random])
  func `with a hook bursts are hardly throttled at all`(load: Load) {
    let sampling = Outcome(load, Self.headroom)
    for hook in [LimitSimulation.Hook.blind, .seeing] {
      let hooked = Outcome(load, Self.headroom, hook)
      #expect(hooked.throttled < sampling.throttled / 5)
    }
  }

  @Test func `a window of three periods: two cut a load that repeats, five hold more slack`() {
    func law(_ window: Int) -> ControlLaw.Parameters {
      var parameters = HeadroomLaw.Parameters.standard
      parameters.window = window
      parameters.idleAfter = Nanoseconds(window) * 100 * ms
      return .headroom(parameters)
    }
    #expect(Outcome(.requests, law(2)).writes > 100)
    #expect(Outcome(.requests, law(3)).writes <= 2)
    #expect(Outcome(.random, law(5)).slack > Outcome(.random, Self.escra).slack)
    #expect(Outcome(.random, law(3)).slack < Outcome(.random, Self.escra).slack)
  }
}

// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import Application
@testable import simulate

/// `make simulate` runs thousands of these with all optimisations; here some run in a debug build.
@Suite struct ApplicationSimulationTests {
  private func failure(_ seed: UInt64, without rule: ApplicationRules = []) -> Violation? {
    var scenario = Scenario.small(seed)
    scenario.rules.subtract(rule)
    do throws(Violation) {
      try Simulation(scenario).run()
      return nil
    } catch {
      return error
    }
  }

  @Test(arguments: UInt64(1)...24)
  func `the invariants hold whoever dies or stops, and when`(seed: UInt64) {
    #expect(failure(seed)?.text == nil, "make simulate shows the shortest such run")
  }

  @Test(arguments: Command.rules.keys.sorted())
  func `without any one of the rules they do not`(name: String) throws {
    let rule = try #require(Command.rules[name])
    #expect((UInt64(1)...60).contains { failure($0, without: rule) != nil })
  }

  @Test func `the same seed is the same run`() throws {
    let runs = [Simulation(.small(5)), Simulation(.small(5))]
    for run in runs { try run.run() }
    #expect(runs[0].events == runs[1].events && runs[0].events > 500)
  }

  @Test func `a run that fails is made smaller, and still fails`() throws {
    var scenario = Scenario.small(1)
    scenario.members = 20
    scenario.rules.remove(.recallsBeforeForce)
    let violation = try #require(throws: Violation.self) { try Simulation(scenario).run() }
    let (small, found) = Command.shrink(scenario, violation)
    #expect(small.members <= 20 && small.mostEvents == found.event + 1)
    #expect(throws: Violation.self) { try Simulation(small).run() }
  }
}

// SPDX-License-Identifier: Apache-2.0
internal import Application
import Glibc
internal import VirtualTime

/// The program `simulate`: runs seeds, and makes a failing one small.
enum Command {
  static func run(_ arguments: [String]) -> Int32 {
    var (first, count, large) = (UInt64(1), 1000, 0)
    var rules = ApplicationRules.all
    var words = arguments[...]
    while let word = words.popFirst() {
      switch (word, words.popFirst()) {
      case ("--seeds", let value?): count = Int(value) ?? count
      case ("--first", let value?): first = UInt64(value) ?? first
      case ("--large", let value?): large = Int(value) ?? large
      case ("--without", let value?):
        guard let rule = Self.rules[value] else { return complain("no rule \(value)") }
        rules.remove(rule)
      default:
        return complain("simulate [--seeds N] [--first SEED] [--large MEMBERS] [--without RULE]")
      }
    }
    var totals = (events: 0, greatest: 0.0)
    for seed in first..<first + UInt64(count) {
      var scenario = Scenario.small(seed)
      scenario.rules = rules
      let simulation = Simulation(scenario)
      do throws(Violation) {
        try simulation.run()
      } catch {
        tell(error, scenario)
        return 1
      }
      totals.events += simulation.events
      totals.greatest = max(totals.greatest, simulation.checks.greatest)
    }
    print("\(count) seeds from \(first), \(totals.events) events, all invariants held")
    print("greatest use beyond the limit: \(totals.greatest) periods' worth")
    guard large > 0 else { return 0 }
    let scenario = Scenario(
      seed: first, members: large, duration: 10 * second, rules: rules, countsUse: false)
    let simulation = Simulation(scenario)
    do throws(Violation) {
      try simulation.run()
    } catch {
      print("\(large) members, seed \(first): \(error.text), event \(error.event)")
      return 1
    }
    print("\(large) members, \(simulation.events) events, all invariants held")
    return 0
  }

  static let rules: [String: ApplicationRules] = [
    "lowersFirst": .lowersFirst, "checksEpochs": .checksEpochs,
    "awaitsRegistered": .awaitsRegistered, "keepsOrphans": .keepsOrphans,
    "checksAcknowledgements": .checksAcknowledgements,
    "recallsBeforeForce": .recallsBeforeForce, "restsSpent": .restsSpent,
    "servesPoorFirst": .servesPoorFirst, "claimsWrites": .claimsWrites,
    "keepsBooks": .keepsBooks,
  ]

  private static func complain(_ text: String) -> Int32 {
    print(text)
    return 2
  }

  /// Shows a failure at its smallest: fewest members, then fewest events.
  private static func tell(_ violation: Violation, _ scenario: Scenario) {
    let (small, violation) = shrink(scenario, violation)
    let simulation = Simulation(small, traced: true)
    try? simulation.run()
    for line in simulation.trace?.suffix(60) ?? [] { print(line) }
    print("seed \(small.seed), \(small.members) members, event \(violation.event):")
    print("  \(violation.text)")
  }

  static func shrink(_ scenario: Scenario, _ violation: Violation) -> (Scenario, Violation) {
    var (best, found) = (scenario, violation)
    for members in 2..<max(2, scenario.members) {
      var smaller = scenario
      smaller.members = members
      do throws(Violation) {
        try Simulation(smaller).run()
      } catch {
        (best, found) = (smaller, error)
        break
      }
    }
    best.mostEvents = found.event + 1
    return (best, found)
  }
}

extension Scenario {
  /// 2 to 50 members, for some seconds.
  static func small(_ seed: UInt64) -> Scenario {
    var random = SplitMix(seed: seed ^ 0x5eed)
    return Scenario(
      seed: seed, members: Int(random.time(2...50)),
      duration: random.among(1...10) * second)
  }
}

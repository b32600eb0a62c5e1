// SPDX-License-Identifier: Apache-2.0
import Glibc
import Nodes
import Quantities
import VirtualTime

/// The program `simulate-nodes`: runs seeds, one run with many nodes, and runs without a rule.
enum NodesCommand {
  static let rules: [String: NodeRules] = [
    "lowersFirst": .lowersFirst, "takesFirst": .takesFirst, "expires": .expires,
    "marks": .marks, "clearsBeforeUse": .clearsBeforeUse, "fencesDoubt": .fencesDoubt,
    "brokerTimer": .brokerTimer, "waitsLonger": .waitsLonger,
    "fromBeforeSending": .fromBeforeSending, "refusesOlder": .refusesOlder,
    "keepsMinima": .keepsMinima,
  ]

  static func run(_ arguments: [String]) -> Int32 {
    var (first, count, middle, large, largeSeeds) = (UInt64(1), 1000, 0, 0, 1)
    var without: [String] = []
    var words = arguments[...]
    while let word = words.popFirst() {
      switch (word, words.popFirst()) {
      case ("--seeds", let value?): count = Int(value) ?? count
      case ("--first", let value?): first = UInt64(value) ?? first
      case ("--middle", let value?): middle = Int(value) ?? middle
      case ("--large", let value?): large = Int(value) ?? large
      case ("--large-seeds", let value?): largeSeeds = Int(value) ?? largeSeeds
      case ("--without", "all"?): without = rules.keys.sorted()
      case ("--without", let value?):
        guard rules[value] != nil else { return complain("no rule \(value)") }
        without = [value]
      case ("--trace", let value?):
        return trace(UInt64(value) ?? 1)
      default:
        return complain(
          "simulate-nodes [--seeds N] [--first SEED] [--middle N] [--large NODES]"
            + " [--large-seeds N] [--without RULE|all] [--trace SEED]")
      }
    }
    let seeds = first..<first + UInt64(count)
    if !without.isEmpty {
      return without.map { find($0, in: seeds) }.allSatisfy(\.self) ? 0 : 1
    }
    return [
      run("2 to 6 nodes", seeds.map { .small($0) }),
      run("3 to 20 nodes", (first..<first + UInt64(middle)).map { .middle($0) }),
      run(
        "\(large) nodes",
        (first..<first + UInt64(large > 0 ? largeSeeds : 0)).map {
          NodesScenario(seed: $0, nodes: large, duration: 60 * second)
        }),
    ].allSatisfy(\.self) ? 0 : 1
  }

  /// Runs scenarios, and prints what has happened in them.
  ///
  /// - Returns: Whether all invariants held.
  private static func run(_ name: String, _ scenarios: [NodesScenario]) -> Bool {
    if scenarios.isEmpty { return true }
    var totals = Totals()
    for scenario in scenarios {
      let simulation = NodesSimulation(scenario)
      do throws(NodesViolation) {
        try simulation.run()
      } catch {
        print("\(name), seed \(scenario.seed), at \(Double(error.time) / 1e9) s: \(error.text)")
        return false
      }
      totals.add(simulation)
    }
    print("\(name), \(scenarios.count) seeds, all invariants held: \(totals.text)")
    fflush(nil)
    return true
  }

  struct Totals {
    var (events, requests) = (0, 0)
    var notes: [String: Int] = [:]

    mutating func add(_ simulation: NodesSimulation) {
      events += simulation.events
      requests += simulation.requests
      notes.merge(simulation.notes, uniquingKeysWith: +)
    }

    var text: String {
      let counts = notes.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }
      return "\(events) events, \(requests) requests; " + counts.joined(separator: ", ")
    }
  }

  /// The first seed that fails without a rule.
  static func find(_ name: String, in seeds: Range<UInt64>) -> Bool {
    for seed in seeds {
      let scenario = scenario(seed, without: name)
      do throws(NodesViolation) {
        try NodesSimulation(scenario).run()
      } catch {
        guard error.isUnsafe else { continue }
        print("without \(name): seed \(seed), at \(Double(error.time) / 1e9) s: \(error.text)")
        return true
      }
    }
    print("without \(name): nothing found in \(seeds.count) seeds")
    return false
  }

  static func scenario(_ seed: UInt64, without name: String) -> NodesScenario {
    var scenario = NodesScenario.small(seed)
    scenario.rules.subtract(rules[name] ?? [])
    return scenario
  }

  private static func complain(_ text: String) -> Int32 {
    print(text)
    return 2
  }

  private static func trace(_ seed: UInt64) -> Int32 {
    let simulation = NodesSimulation(.small(seed), traced: true)
    do throws(NodesViolation) { try simulation.run() } catch { print(error.text) }
    for line in simulation.trace { print(line) }
    return 0
  }
}

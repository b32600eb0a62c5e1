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
  ]

  static func run(_ arguments: [String]) -> Int32 {
    var (first, count, large) = (UInt64(1), 1000, 0)
    var without: [String] = []
    var words = arguments[...]
    while let word = words.popFirst() {
      switch (word, words.popFirst()) {
      case ("--seeds", let value?): count = Int(value) ?? count
      case ("--first", let value?): first = UInt64(value) ?? first
      case ("--large", let value?): large = Int(value) ?? large
      case ("--without", "all"?): without = rules.keys.sorted()
      case ("--without", let value?):
        guard rules[value] != nil else { return complain("no rule \(value)") }
        without = [value]
      case ("--trace", let value?):
        return trace(UInt64(value) ?? 1)
      default:
        return complain(
          "simulate-nodes [--seeds N] [--first SEED] [--large NODES] [--without RULE|all]"
            + " [--trace SEED]")
      }
    }
    let seeds = first..<first + UInt64(count)
    if !without.isEmpty {
      return without.map { find($0, in: seeds) }.allSatisfy(\.self) ? 0 : 1
    }
    var totals = Totals()
    for seed in seeds {
      let simulation = NodesSimulation(.small(seed))
      do throws(NodesViolation) {
        try simulation.run()
      } catch {
        print("seed \(seed), at \(Double(error.time) / 1e9) s: \(error.text)")
        return 1
      }
      totals.add(simulation)
    }
    if count > 0 { print("\(count) seeds from \(first), all invariants held: \(totals.text)") }
    guard large > 0 else { return 0 }
    let scenario = NodesScenario(seed: first, nodes: large, duration: 60 * second)
    let simulation = NodesSimulation(scenario)
    do throws(NodesViolation) {
      try simulation.run()
    } catch {
      print("\(large) nodes, at \(Double(error.time) / 1e9) s: \(error.text)")
      return 1
    }
    totals = Totals()
    totals.add(simulation)
    print("\(large) nodes, all invariants held: \(totals.text)")
    return 0
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

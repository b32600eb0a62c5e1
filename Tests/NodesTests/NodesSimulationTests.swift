// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import simulate_nodes

/// `make simulate-nodes` runs thousands of these with all optimisations; here some run in a debug
/// build.
struct NodesSimulationTests {
  @Test(arguments: UInt64(1)...24)
  func `the limit holds whatever is late, lost, cut off or dead`(seed: UInt64) throws {
    try NodesSimulation(.small(seed)).run()
  }

  /// An agent whose validity is over lowers its minimum, since members have ended: what it still holds
  /// above that had no deadline.
  @Test func `a minimum that is lowered without the engine leaves nothing without a deadline`()
    throws
  {
    try NodesSimulation(.small(351)).run()
  }

  /// From a seed shortly before one that fails; `make simulate-nodes` begins with the first.
  @Test(arguments: [
    ("brokerTimer", 30), ("clearsBeforeUse", 9), ("expires", 2), ("fencesDoubt", 126),
    ("keepsMinima", 30), ("lowersFirst", 1), ("marks", 1), ("refusesOlder", 1), ("takesFirst", 4),
  ])
  func `without any one of the rules it does not`(name: String, first: UInt64) {
    #expect(NodesCommand.find(name, in: first..<400))
  }

  @Test(arguments: UInt64(1)...4, [2, 5])
  func `what nodes want may change all the time while they wait`(seed: UInt64, nodes: Int) throws {
    let run = NodesSimulation(.fluttering(seed, nodes: nodes))
    try run.run()
    // In 20 s; each node wants something else 300 times.
    #expect(run.swapsBeforeCalm <= 40 * nodes)
  }

  @Test func `the same seed is the same run`() throws {
    let runs = [NodesSimulation(.small(5)), NodesSimulation(.small(5))]
    for run in runs { try run.run() }
    #expect(runs[0].events == runs[1].events && runs[0].events > 500)
  }
}

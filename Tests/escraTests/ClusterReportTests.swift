// SPDX-License-Identifier: Apache-2.0
import State
import Testing

@testable import escra

struct ClusterReportTests {
  private var status: ClusterStatus {
    var status = ClusterStatus()
    status.node = "one"
    status.engine.kind = "etcd"
    status.engine.endpoint = "10.0.0.1:2379"
    status.engine.isReachable = true
    status.cpu.limit = 2_000_000_000
    status.cpu.free = 500_000_000
    status.cpu.share = 1_300_000_000
    status.cpu.minimum = 300_000_000
    status.cpu.deadline = 7_000_000_000
    status.cpu.nodes = [
      .init(
        name: "one", held: 1_300_000_000, minimum: 300_000_000, declared: 300_000_000,
        want: 2_000_000_000, isSuspected: false),
      .init(
        name: "two", held: 200_000_000, minimum: 200_000_000, declared: 200_000_000, want: 0,
        isSuspected: true),
    ]
    status.cpu.notes = [.init(time: 0, sentence: "took 1.00 cores")]
    return status
  }

  @Test func `says what this node has, until when, and what has changed`() {
    #expect(
      ClusterReport(status: status, now: 2_500_000_000).lines == [
        "It spans nodes; this one is one. The engine at 10.0.0.1:2379 answers.",
        "CPU of all nodes: the limit is 2.00 cores, of which this node has 1.30 cores and "
          + "0.50 cores are free; without the engine it keeps 0.30 cores, from 4.5 s from now on.",
        "  1970-01-01T00:00:00Z  took 1.00 cores",
      ])
  }

  @Test func `says that there is no agent`() {
    let lines = ClusterReport(status: nil, now: 0).lines
    #expect(lines.count == 1 && lines[0].contains("Start escra-agent"))
    #expect(ClusterReport(status: nil, now: 0).table == nil)
  }

  @Test func `shows each node in a row`() throws {
    let table = try #require(ClusterReport(status: status, now: 0).table)
    #expect(table.lines.count == 3)
    #expect(table.lines[2].hasPrefix("two") && table.lines[2].contains("yes"))
  }

  @Test func `has a member for programs`() {
    let json = ClusterReport(status: status, now: 0).json.text
    #expect(json.contains("\"share\": 1.3") && json.contains("\"suspected\": true"))
  }
}

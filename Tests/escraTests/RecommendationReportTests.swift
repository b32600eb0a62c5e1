// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import Control
@testable import escra

private func run(_ change: (inout RunRecord) -> Void = { _ in }) -> Run {
  var record = RunRecord(nonce: 1, started: 0, period: 100_000_000)
  (record.duration, record.busy) = (7_200_000_000_000, 100_000_000_000)
  (record.usedCPU, record.heldCPU) = (200_000_000_000, 900_000_000_000)
  (record.memoryPeak, record.cpuPeak) = (100 << 20, 440_000_000)
  (record.declaredCPU, record.longestBurst) = (200_000_000, 90_000_000)
  record.isSeenInQuarters = true
  record.cpu.add(300_000_000, times: 900)
  record.cpu.add(400_000_000, times: 100)
  record.bursts.add(60_000_000, times: 100)
  change(&record)
  return Run.all(of: [record])[0]
}

private func report(_ run: Run) throws -> RecommendationReport {
  RecommendationReport(
    title: "shop/web", recommendation: try #require(Recommendation(Profile([run], now: 0))))
}

@Suite struct RecommendationReportTests {
  @Test func `each figure has its evidence, in sentences without riddles`() throws {
    let lines = try report(run()).lines
    let text = lines.joined(separator: "\n")
    #expect(lines[0] == "shop/web: 1 run, seen for 2.0 h, 1000 busy periods")
    #expect(text.contains("Request: it used 0.028 cores on average; 15 % is added."))
    #expect(text.contains("wanted more than 0.42 cores; the most was 0.44."))
    #expect(text.contains("At 0.20 cores, 1 in 20 bursts waits"))
    #expect(text.contains("Memory: it used at most 100Mi, page cache included"))
    #expect(text.contains("it holds 0.13 cores on average"))
    #expect(!text.contains("Confidence is low"))
    #expect(!text.contains("killed"))
  }

  @Test func `what is not known is said`() throws {
    let unsure = try report(
      run {
        $0.duration = 60_000_000_000
        $0.isObserved = true
        $0.throttledTime = 50_000_000_000
        $0.events.kills = 2
      }
    ).lines.joined(separator: "\n")
    #expect(unsure.contains("Confidence is low"))
    #expect(unsure.contains("its demand is not known: twice as much is recommended"))
    #expect(unsure.contains("2 processes were killed because memory ran out"))
  }

  @Test func `what is added because periods begin at other moments is said`() throws {
    #expect(!(try report(run()).lines.contains { $0.contains("15 % is added, because") }))
    let shifted = try report(run { $0.isSeenInQuarters = false }).lines.joined(separator: "\n")
    #expect(shifted.contains("15 % is added, because the kernel's periods may begin within"))
    #expect(shifted.contains("no busy period wanted more than 0.48 cores; the most was 0.44."))
  }

  @Test func `options of docker and a manifest are what those take`() throws {
    let report = try report(run())
    #expect(
      report.docker
        == "--cpus 0.42 --cpu-shares 35 --memory 115m --memory-reservation 100m")
    #expect(report.kubernetes.prefix(7).joined(separator: "\n").contains("limits:\n    cpu: 420m"))
    let tiny = try self.tiny()
    #expect(tiny.docker.contains("--memory 6m --memory-reservation 6m"), "docker takes no less")
  }

  private func tiny() throws -> RecommendationReport {
    try report(run { $0.memoryPeak = 1 << 20 })
  }

  @Test(
    arguments: [
      (0.4, "0.40 s"), (61.25, "61.3 s"), (600, "10.0 min"), (10_000, "2.8 h"), (259_200, "3.0 d"),
    ])
  func `a time is told in its own unit`(seconds: Double, text: String) {
    #expect(span(seconds) == text)
  }

  @Test func `near misses are the seconds that are above nine tenths for certain`() {
    var record = RunRecord(nonce: 1, started: 0, period: 100_000_000)
    record.memoryPeak = 60 << 20
    record.memory.add(10 << 20, times: 50)
    record.memory.add(60 << 20, times: 3)
    #expect(NearMisses(record, limit: 50 << 20).isKilled)
    #expect(NearMisses(record, limit: 50 << 20).seconds == 3)
    #expect(!NearMisses(record, limit: 64 << 20).isKilled)
    #expect(NearMisses(record, limit: 128 << 20).seconds == 0)
  }
}

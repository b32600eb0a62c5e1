// SPDX-License-Identifier: Apache-2.0
import Glibc
import Syscalls
import Testing

@testable import LiveLimits

@Suite struct CounterFileTests {
  private func counters(_ first: Int64) -> CPUController.Counters {
    var counters = CPUController.Counters()
    counters.predictions = first
    counters.throttles = first + 1
    counters.ancestorThrottles = first + 2
    counters.raises = first + 3
    counters.returns = first + 4
    counters.deferrals = first + 5
    counters.stalled = first + 6
    return counters
  }

  @Test func `a supervisor goes on from what its predecessor counted`() throws {
    let scratch = try TemporaryDirectory()
    let directory = try scratch.opened()
    #expect(CounterFile.counters(in: directory) == nil)
    do {
      var file = try CounterFile(in: directory)
      file.note(counters(1))
      file.note(counters(10))
      #expect(CounterFile.counters(in: directory) == counters(10))
    }
    var file = try CounterFile(in: directory)
    #expect(CounterFile.counters(in: directory) == counters(10))
    file.note(counters(100))
    let sum = CounterFile.counters(in: directory)
    #expect(sum?.predictions == 110)
    #expect(sum?.stalled == 122)
  }

  @Test(
    arguments: [
      (.granted, 3, 4, 0, (raises: 1, predictions: 0, returns: 0)),
      (.predicted, 3, 4, 2, (1, 1, 0)), (.exhausted, 3, 4, 3, (1, 0, 0)),
      (.due, 3, 4, 2, (1, 0, 0)),
      (.recalled, 4, 3, 0, (0, 0, 1)), (.update, 3, 4, 0, (1, 0, 0)), (.update, 3, 3, 0, (0, 0, 0)),
      (.advance, 4, 3, 4, (0, 0, 1)), (.start, 3, 3, 0, (0, 0, 0)), (.refused, 3, 4, 3, (0, 0, 0)),
      (.refused, 4, 3, 3, (0, 0, 0)), (.memoryGrown, 3, 4, 2, (0, 0, 0)),
    ] as [(Rule, Int64, Int64, Int64, (raises: Int64, predictions: Int64, returns: Int64))])
  func `what the record says of a CPU limit is counted, and nothing else`(
    rule: Rule, before: Int64, after: Int64, use: Int64,
    counted: (raises: Int64, predictions: Int64, returns: Int64)
  ) {
    var counters = CPUController.Counters()
    counters.count(
      RecordEntry(
        time: 0, rule: rule, applied: true, before: before, after: after, use: use, period: 100))
    #expect(
      (counters.raises, counters.predictions, counters.returns)
        == (counted.raises, counted.predictions, counted.returns))
  }

  @Test func `a torn file counts as none`() throws {
    let scratch = try TemporaryDirectory()
    let directory = try scratch.opened()
    do {
      var file = try CounterFile(in: directory)
      file.note(counters(1))
    }
    try directory.open("counters", O_RDWR).overwrite("x", subject: "counters")
    #expect(CounterFile.counters(in: directory) == nil)
  }
}

// SPDX-License-Identifier: Apache-2.0
import Glibc
import TestFiles
import Testing

@testable import Control
@testable import Quantities
@testable import State
@testable import Syscalls

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
    counters.refusals = first + 7
    counters.memoryRaises = first + 8
    counters.memoryReturns = first + 9
    counters.memoryRefusals = first + 10
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
      var counted = counters(10)
      counted.supervisors = 1
      #expect(CounterFile.counters(in: directory) == counted)
    }
    var file = try CounterFile(in: directory)
    file.note(counters(100))
    let sum = CounterFile.counters(in: directory)
    #expect(sum?.predictions == 110)
    #expect(sum?.stalled == 122)
    #expect(sum?.memoryRefusals == 130)
    #expect(sum?.supervisors == 2)
  }

  @Test func `what an earlier version counted is kept, and the rest is not known`() throws {
    let scratch = try TemporaryDirectory()
    let directory = try scratch.opened()
    let words: [UInt64] = [1, 2, 3, 4, 5, 6, 7]
    var sum = FNV1a()
    for word in words { sum.add(word) }
    try directory.open("counters", O_WRONLY | O_CREAT).write(
      (words + [sum.value]).flatMap { word in withUnsafeBytes(of: word.littleEndian) { Array($0) } }
    )
    let old = CounterFile.counters(in: directory)
    #expect(old?.raises == 4)
    #expect(old?.supervisors == 0 && old?.memoryRaises == 0)
  }

  @Test(
    arguments: [
      (.memoryGrown, 3, 4, (1, 0, 0)), (.memoryGivenBack, 4, 3, (0, 1, 0)),
      (.memoryGranted, 3, 4, (1, 0, 0)), (.memoryRefused, 3, 3, (0, 0, 1)),
      (.memoryHostFull, 3, 3, (0, 0, 1)), (.memoryNotTaken, 4, 3, (0, 0, 1)),
      (.memoryFound, 3, 4, (0, 0, 0)), (.memoryKill, 3, 4, (0, 0, 0)),
      (.jumpStart, 3, 4, (0, 0, 0)),
    ] as [(Rule, Int64, Int64, (Int64, Int64, Int64))])
  func `what the record says of a memory limit is counted`(
    rule: Rule, before: Int64, after: Int64, counted: (Int64, Int64, Int64)
  ) {
    var counters = CPUController.Counters()
    counters.count(
      RecordEntry(
        time: 0, rule: rule, applied: true, before: before, after: after, use: 0, period: 100))
    #expect((counters.memoryRaises, counters.memoryReturns, counters.memoryRefusals) == counted)
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

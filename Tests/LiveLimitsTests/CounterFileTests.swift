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

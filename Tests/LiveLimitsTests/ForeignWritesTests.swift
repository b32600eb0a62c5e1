// SPDX-License-Identifier: Apache-2.0
import LiveLimits
import Syscalls
import Testing

private let second: Nanoseconds = 1_000_000_000

private func limit(_ quota: Int64) -> CPUQuota { CPUQuota(quota: quota) }

@Suite struct ForeignWritesTests {
  private var writes = ForeignWrites(ours: limit(20_000), declared: limit(50_000))

  @Test mutating func `what we wrote is ours`() {
    #expect(writes.judge(limit(20_000), at: 0) == .ours)
    writes.wrote(limit(30_000))
    #expect(writes.judge(limit(30_000), at: 0) == .ours)
    #expect(writes.ours == limit(30_000))
  }

  @Test mutating func `the declared value that comes back is drift, a new one is news`() {
    #expect(writes.judge(limit(50_000), at: 7) == .drift(notBefore: 7))
    #expect(writes.judge(limit(60_000), at: 7) == .news)
    #expect(writes.judge(CPUQuota(quota: nil), at: 7) == .news)
    #expect(writes.judge(CPUQuota(quota: 20_000, period: 50_000), at: 7) == .news)
  }

  @Test mutating func `what an update was told to write is expected once`() {
    writes.declared(limit(80_000), expecting: limit(70_000), at: 0)
    #expect(writes.judge(limit(20_000), at: 0) == .ours, "it has not come yet")
    #expect(writes.judge(limit(70_000), at: 0) == .expected)
    #expect(writes.ours == limit(70_000))
    #expect(writes.judge(limit(70_000), at: 0) == .ours)
    writes.wrote(limit(30_000))
    #expect(writes.judge(limit(70_000), at: 0) == .drift(notBefore: 0))
    #expect(writes.judge(limit(80_000), at: 0) == .drift(notBefore: 0))
    #expect(writes.judge(limit(50_000), at: 0) == .drift(notBefore: 0), "the old one too")
  }

  @Test mutating func `an update that never wrote is not waited for`() {
    writes.declared(limit(80_000), expecting: limit(70_000), at: 0)
    #expect(writes.judge(limit(70_000), at: 6 * second) == .drift(notBefore: 6 * second))
  }

  @Test mutating func `drift is written over at most once a second`() {
    #expect(writes.judge(limit(50_000), at: 5 * second) == .drift(notBefore: 5 * second))
    writes.corrected(at: 5 * second)
    for now in [5 * second, 5 * second + 1, 6 * second - 1, 6 * second] {
      #expect(writes.judge(limit(50_000), at: now) == .drift(notBefore: 6 * second))
    }
    #expect(writes.judge(limit(50_000), at: 9 * second) == .drift(notBefore: 9 * second))
  }

  @Test mutating func `in a fight that never ends ours is written once a second`() {
    var corrections = 0
    for now in stride(from: 0, to: 10 * second, by: 1_000_000) {
      guard case .drift(let moment) = writes.judge(limit(50_000), at: now), moment <= now else {
        continue
      }
      corrections += 1
      writes.corrected(at: now)
    }
    #expect(corrections == 10)
  }

  @Test mutating func `news that was learned is drift when it comes back`() {
    #expect(writes.judge(limit(60_000), at: 0) == .news)
    writes.learned(limit(60_000))
    writes.wrote(limit(25_000))
    #expect(writes.judge(limit(60_000), at: 0) == .drift(notBefore: 0))
  }

  @Test(arguments: [true, false])
  mutating func `the last eight are remembered, however they came`(announced: Bool) {
    for number in 1...100 {
      let declared = limit(Int64(number) * 1000)
      if announced {
        writes.declared(declared, expecting: declared, at: 0)
      } else {
        writes.learned(declared)
      }
    }
    writes.wrote(limit(500))
    // Whatever was expected has come.
    _ = writes.judge(limit(100_000), at: 0)
    writes.wrote(limit(500))
    let known = (1...100).filter { writes.judge(limit(Int64($0) * 1000), at: 0) != .news }
    #expect(known == Array(93...100))
  }
}

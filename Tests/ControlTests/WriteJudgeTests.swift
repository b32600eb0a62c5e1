// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import Control
@testable import Quantities

private let second: Nanoseconds = 1_000_000_000

@Suite struct WriteJudgeTests {
  @Test func `what we wrote is ours, also in a group of ours`() {
    for isOurGroup in [false, true] {
      var judge = WriteJudge(isOurGroup: isOurGroup)
      #expect(judge.judge(isOurs: true, isOld: false, at: 0) == .ours)
    }
  }

  @Test func `a new value declares something, but not in a group of ours`() {
    var judge = WriteJudge(isOurGroup: false)
    #expect(judge.judge(isOurs: false, isOld: false, at: 7) == .declared)
    judge = WriteJudge(isOurGroup: true)
    #expect(judge.judge(isOurs: false, isOld: false, at: 7) == .overwritten(notBefore: 7))
  }

  @Test(arguments: [(false, second), (true, 50_000_000)] as [(Bool, Nanoseconds)])
  func `an old value is written over at most once an interval`(
    isOurGroup: Bool, interval: Nanoseconds
  ) {
    var judge = WriteJudge(isOurGroup: isOurGroup)
    #expect(judge.judge(isOurs: false, isOld: true, at: 9) == .overwritten(notBefore: 9))
    judge.corrected(at: 9)
    #expect(judge.next == 9 + interval)
    #expect(
      judge.judge(isOurs: false, isOld: true, at: 10) == .overwritten(notBefore: 9 + interval))
  }

  @Test func `the delay begins with the first sight, and a group of ours has none`() {
    var judge = WriteJudge(isOurGroup: false, delay: 50)
    for now in [100, 120] as [Nanoseconds] {
      #expect(judge.judge(isOurs: false, isOld: true, at: now) == .overwritten(notBefore: 150))
    }
    #expect(judge.judge(isOurs: true, isOld: false, at: 130) == .ours)
    #expect(judge.judge(isOurs: false, isOld: true, at: 140) == .overwritten(notBefore: 190))
    judge = WriteJudge(isOurGroup: true, delay: 50)
    #expect(judge.judge(isOurs: false, isOld: true, at: 100) == .overwritten(notBefore: 100))
  }
}

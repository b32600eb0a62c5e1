// SPDX-License-Identifier: Apache-2.0
import TestValues
import Testing

@testable import Application

private typealias Member = FairShares.Member

private func divided(_ limit: Int64, _ members: [Member]) -> (fair: [Int64], target: [Int64]) {
  var shares = FairShares()
  shares.level(limit, members)
  shares.begin()
  for member in members { shares.count(member) }
  shares.divide()
  return (members.map { shares.fair($0) }, members.map { shares.target($0) })
}

private func member(_ wanted: Int64, _ priority: Int32 = 0) -> Member {
  Member(floor: 10, ceiling: 1000, wanted: wanted, priority: priority)
}

@Suite struct FairSharesTests {
  @Test(
    arguments: [
      // Everybody has what it could use while there is enough.
      (1000, [300, 200, 100], [300, 200, 100]),
      // What one leaves, the others get in proportion to what is missing.
      (900, [100, 400, 600], [100, 350, 450]),
      // All could use everything: all get the same.
      (900, [1000, 1000, 1000], [300, 300, 300]),
      // Nobody gets less than its floor, whatever it could use.
      (900, [0, 0, 1000], [10, 10, 880]),
    ] as [(Int64, [Int64], [Int64])])
  func `shares follow demand, above what is fair for each`(
    limit: Int64, wanted: [Int64], expected: [Int64]
  ) {
    #expect(divided(limit, wanted.map { member($0) }).target == expected)
  }

  @Test func `the higher priority has all it could use before a lower one has more than its share`()
  {
    let members = [member(1000, 1), member(1000), member(1000)]
    #expect(divided(900, members).target == [300, 300, 300], "a fair share is everybody's")
    let idle = [member(450, 1), member(1000), member(100)]
    #expect(divided(900, idle).target == [450, 350, 100])
  }

  @Test func `a floor above the level, and a ceiling below, move everybody's fair share`() {
    let members = [
      Member(floor: 500, ceiling: 1000, wanted: 1000, priority: 0),
      Member(floor: 10, ceiling: 50, wanted: 1000, priority: 0), member(1000), member(1000),
    ]
    #expect(divided(1000, members).fair == [500, 50, 225, 225])
  }

  @Test func `for any members, targets are within the limit and their bounds, and leave nothing`() {
    var random = SeededGenerator(seed: 3)
    for _ in 0..<2000 {
      let members = (0..<Int.random(in: 1...12, using: &random)).map { _ in
        let floor = Int64.random(in: 0...50, using: &random)
        let ceiling = floor + Int64.random(in: 0...1000, using: &random)
        return Member(
          floor: floor, ceiling: ceiling,
          wanted: Int64.random(in: floor...ceiling, using: &random),
          priority: Int32.random(in: -1...1, using: &random))
      }
      let least = members.reduce(0) { $0 + $1.floor }
      let limit = least + Int64.random(in: 0...3000, using: &random)
      let (fair, targets) = divided(limit, members)
      let sum = targets.reduce(0, +)
      let wanted = members.reduce(0) { $0 + $1.wanted }
      #expect(sum <= limit && sum >= min(limit, wanted) - Int64(2 * members.count))
      for (index, member) in members.enumerated() {
        #expect(targets[index] <= member.wanted)
        #expect(targets[index] >= min(member.wanted, fair[index]), "nobody starves")
      }
    }
  }
}

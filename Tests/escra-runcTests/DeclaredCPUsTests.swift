// SPDX-License-Identifier: Apache-2.0
import TestValues
import Testing

@testable import CPUSets
@testable import Quantities
@testable import escra_runc

@Suite struct DeclaredCPUsTests {
  private static func reserved(
    _ quota: Int64?, _ period: Int64 = 100_000, cpuset: String? = nil
  ) throws -> CPURequest {
    try DeclaredCPUs(
      bandwidth: quota.map { CFSBandwidth(quota: $0, period: period) }, cpuset: cpuset
    ).reservation()
  }

  @Test func `a quota says how many, a set which, both how many of which`() throws {
    #expect(try Self.reserved(200_000) == CPURequest(count: 2))
    #expect(try Self.reserved(30_000, 10_000) == CPURequest(count: 3))
    #expect(try Self.reserved(nil, cpuset: "1-2,4\n") == CPURequest(set: CPUSet([1, 2, 4])))
    #expect(
      try Self.reserved(100_000, cpuset: "0-3")
        == CPURequest(count: 1, set: CPUSet([0, 1, 2, 3])))
  }

  @Test func `nothing, and an empty set, reserve nothing`() throws {
    #expect(try Self.reserved(nil) == CPURequest())
    #expect(try Self.reserved(nil, cpuset: "") == CPURequest())
  }

  @Test(arguments: [
    (150_000 as Int64, 100_000 as Int64, ["1500m", "declare 1 or 2"]),
    (10_000, 100_000, ["100m", "declare 1,"]),
    (99_999, 100_000, ["1,", "declare 1,"]),
  ])
  func `a fraction is refused with what to write instead`(
    quota: Int64, period: Int64, words: [String]
  ) {
    #expect {
      _ = try Self.reserved(quota, period)
    } throws: { error in
      words.allSatisfy { (error as? Refusal)?.sentence.contains($0) == true }
    }
  }

  @Test(arguments: ["x", "3-1", "0-", "0x1", "9000"])
  func `a list that is none is refused with its text`(list: String) {
    #expect(throws: Refusal.self) { try Self.reserved(nil, cpuset: list) }
  }
}

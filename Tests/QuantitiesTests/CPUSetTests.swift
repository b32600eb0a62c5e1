// SPDX-License-Identifier: Apache-2.0
import TestValues
import Testing

@testable import Quantities

@Suite struct CPUSetTests {
  private static let lists: [(String, [Int32], String)] = [
    ("0\n", [0], "0"), ("0-3\n", [0, 1, 2, 3], "0-3"), ("0-2,5", [0, 1, 2, 5], "0-2,5"),
    ("0-1,4,6-7\n", [0, 1, 4, 6, 7], "0-1,4,6-7"), ("", [], ""), ("\n", [], ""), (" ", [], ""),
    ("5,3,4", [3, 4, 5], "3-5"), ("1-1", [1], "1"), ("0-3,2-5,3", [0, 1, 2, 3, 4, 5], "0-5"),
    ("007", [7], "7"), ("8191", [8191], "8191"), ("62-65", [62, 63, 64, 65], "62-65"),
    ("63,127-128", [63, 127, 128], "63,127-128"),
    // The kernel and the low-level runtime skip these, too (bitmap_find_region).
    ("0-2 \t\n", [0, 1, 2], "0-2"), ("0, 2\r\n", [0, 2], "0,2"), (",0,,1,", [0, 1], "0-1"),
    ("0 2", [0, 2], "0,2"),
  ]

  @Test(arguments: lists)
  func `reads a list as the kernel does`(text: String, cpus: [Int32], written: String) throws {
    let set = try #require(CPUSet(list: text))
    #expect(set.cpus == cpus)
    #expect(set.description == written)
  }

  @Test(arguments: [
    "x", "3-1", "-1", "1-", "-", "1--2", "1-2-3", "0-6:2/4", "all", "N", "0x1", "1.0", "+1", "1;2",
    "8192", "0-8192", "99999999999999999999", "0-99999999999999999999", "0 - 2", "0\0", "\0", "٣",
    "1\u{301}", "0,1x",
  ])
  func `takes nothing else for a list`(text: String) { #expect(CPUSet(list: text) == nil) }

  @Test func `any bytes are a list or none`() throws {
    var random = SeededGenerator(seed: 11)
    for _ in 0..<20_000 {
      let alphabet = Array(
        Bool.random(using: &random) ? "0123456789,-- \n".utf8 : "\0:/٣x\u{ff}9-".utf8)
      let bytes = (0..<Int.random(in: 0...12, using: &random)).map { _ in
        alphabet.randomElement(using: &random) ?? 0
      }
      guard let set = CPUSet(list: String(decoding: bytes, as: UTF8.self)) else { continue }
      try #require(CPUSet(list: set.description) == set)
    }
  }

  @Test func `leaves out what cannot be a CPU`() {
    #expect(CPUSet([-1, 8192, .max, .min, 3]).cpus == [3])
    #expect(CPUSet([1, 200]).contains(200))
    for cpu in [-1, -64, 2, 64, 8192, .max, .min] as [Int32] {
      #expect(!CPUSet([1, 200]).contains(cpu))
    }
  }

  /// The standard library's set says what is right.
  @Test func `it is a set`() throws {
    var random = SeededGenerator(seed: 12)
    func some() -> Set<Int32> {
      let largest: Int32 = [3, 70, 200].randomElement(using: &random) ?? 0
      return Set(
        (0..<Int.random(in: 0...12, using: &random)).map { _ in
          Int32.random(in: 0...largest, using: &random)
        })
    }
    for _ in 0..<5000 {
      let (a, b) = (some(), some())
      let (first, second) = (CPUSet(a), CPUSet(b))
      try #require(first.cpus == a.sorted())
      try #require(first.count == a.count && first.isEmpty == a.isEmpty)
      try #require(first.union(second) == CPUSet(a.union(b)))
      try #require(first.intersection(second) == CPUSet(a.intersection(b)))
      try #require(first.subtracting(second) == CPUSet(a.subtracting(b)))
      try #require(first.isSubset(of: second) == a.isSubset(of: b))
      try #require(first.isDisjoint(with: second) == a.isDisjoint(with: b))
      try #require((first == second) == (a == b))
      try #require(a.allSatisfy(first.contains))
      try #require(CPUSet(list: first.description) == first)
    }
  }
}

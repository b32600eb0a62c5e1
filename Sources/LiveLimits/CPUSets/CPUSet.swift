// SPDX-License-Identifier: Apache-2.0

/// A set of CPUs, or of memory nodes, by number.
public struct CPUSet: Equatable, Hashable, Sendable, CustomStringConvertible {
  /// A bit each, the lowest first; no zero word at the end, so that equal sets are equal words.
  public private(set) var words: [UInt64] = []
  static let largest: Int32 = 8191
  public init() {}
  public init<S: Sequence>(_ cpus: S) where S.Element == Int32 { for cpu in cpus { insert(cpu) } }
  public init?(list: String) {
    var rest = Array(list.utf8)[...]
    while let last = rest.last, last == 10 || last == 32 { rest.removeLast() }
    func number() -> Int32? {
      var value: Int32 = 0
      var digits = 0
      while let byte = rest.first, byte >= 48, byte <= 57 {
        value = value * 10 + Int32(byte - 48)
        digits += 1
        rest.removeFirst()
        if value > Self.largest { return nil }
      }
      return digits > 0 ? value : nil
    }
    if rest.isEmpty { return }
    while true {
      guard let first = number() else { return nil }
      var last = first
      if rest.first == 45 {
        rest.removeFirst()
        guard let end = number(), end >= first else { return nil }
        last = end
      }
      for cpu in first...last { insert(cpu) }
      if rest.isEmpty { return }
      guard rest.removeFirst() == 44 else { return nil }
    }
  }
  mutating func insert(_ cpu: Int32) {
    let word = Int(cpu / 64)
    while words.count <= word { words.append(0) }
    words[word] |= 1 << UInt64(cpu % 64)
  }
  private mutating func trim() { while words.last == 0 { words.removeLast() } }
  public var isEmpty: Bool { words.isEmpty }
  public var count: Int { words.reduce(0) { $0 + $1.nonzeroBitCount } }
  public func contains(_ cpu: Int32) -> Bool {
    Int(cpu / 64) < words.count && words[Int(cpu / 64)] >> UInt64(cpu % 64) & 1 == 1
  }
  public var cpus: [Int32] { (0..<Int32(words.count * 64)).filter(contains) }
  public func union(_ other: CPUSet) -> CPUSet {
    var result = CPUSet()
    for index in 0..<max(words.count, other.words.count) {
      result.words.append(
        (index < words.count ? words[index] : 0)
          | (index < other.words.count ? other.words[index] : 0))
    }
    return result
  }
  public func intersection(_ other: CPUSet) -> CPUSet {
    var result = CPUSet()
    for index in 0..<min(words.count, other.words.count) {
      result.words.append(words[index] & other.words[index])
    }
    result.trim()
    return result
  }
  public func subtracting(_ other: CPUSet) -> CPUSet {
    var result = self
    for index in 0..<min(words.count, other.words.count) {
      result.words[index] &= ~other.words[index]
    }
    result.trim()
    return result
  }
  public func isSubset(of other: CPUSet) -> Bool { subtracting(other).isEmpty }
  public func isDisjoint(with other: CPUSet) -> Bool { intersection(other).isEmpty }
  public var description: String {
    var text = ""
    var run: (Int32, Int32)?
    func flush() {
      guard let run else { return }
      if !text.isEmpty { text += "," }
      text += run.0 == run.1 ? "\(run.0)" : "\(run.0)-\(run.1)"
    }
    for cpu in cpus {
      if let current = run, current.1 + 1 == cpu {
        run = (current.0, cpu)
      } else {
        flush(); run = (cpu, cpu)
      }
    }
    flush()
    return text
  }
}

// SPDX-License-Identifier: Apache-2.0
internal import Control
internal import Quantities
internal import State

/// Writes values as a row of numbers, or reads them back from one.
///
/// The same calls do both, so that no field has a number and none can be written and not read. No
/// generics, `??` and `map` included: what those look up at run time stays in a supervisor's memory.
struct WordCoder {
  /// A row is no longer than this.
  private static let most = 256

  private var words: [Int64] = []
  private var next = 0
  private let isReading: Bool
  /// Whether as many numbers were read as are there, and each was one.
  private var isIntact = true

  /// A row to write to.
  init() { isReading = false }

  /// A row to read from; nil for what is no row.
  init?(_ text: String) {
    isReading = true
    // All at once: an array that grows leaves what it was on the heap.
    words.reserveCapacity(64)
    var digits: Int64?
    var isNegative = false
    for byte in text.utf8 {
      switch byte {
      case UInt8(ascii: ","):
        guard let word = digits, words.count < Self.most else { return nil }
        words.append(isNegative ? 0 &- word : word)
        (digits, isNegative) = (nil, false)
      case UInt8(ascii: "-"):
        guard !isNegative, digits == nil else { return nil }
        isNegative = true
      case UInt8(ascii: "0")...UInt8(ascii: "9"):
        let digit = Int64(byte - UInt8(ascii: "0"))
        if let before = digits { digits = before &* 10 &+ digit } else { digits = digit }
      default: return nil
      }
    }
    guard digits == nil, !isNegative else { return nil }
  }

  /// The row: each number and a comma.
  var text: String {
    var text = ""
    for word in words { text += "\(word)," }
    return text
  }

  /// Whether all of the row was read, and nothing was missing.
  var isComplete: Bool { isIntact && next == words.count }

  mutating func code(_ value: inout Int64) {
    guard isReading else { return words.append(value) }
    guard next < words.count else {
      isIntact = false
      return
    }
    value = words[next]
    next += 1
  }

  mutating func code(_ value: inout Bool) {
    var word: Int64 = value ? 1 : 0
    code(&word)
    value = word == 1
  }

  mutating func code(_ value: inout Int) {
    var word = Int64(value)
    code(&word)
    value = Int(word)
  }

  mutating func code(_ value: inout Int64?) {
    var (isThere, word) = (false, Int64(0))
    if let value { (isThere, word) = (true, value) }
    code(&isThere)
    guard isThere else { return value = nil }
    code(&word)
    value = word
  }

  mutating func code(_ value: inout Int32?) {
    var word: Int64?
    if let value { word = Int64(value) }
    code(&word)
    if let word { value = Int32(clamping: word) } else { value = nil }
  }

  mutating func code(_ value: inout CFSBandwidth) {
    code(&value.quota)
    code(&value.period)
  }

  mutating func code(_ value: inout CFSBandwidth?) {
    var (isThere, limit) = (false, CFSBandwidth(quota: nil))
    if let value { (isThere, limit) = (true, value) }
    code(&isThere)
    guard isThere else { return value = nil }
    code(&limit)
    value = limit
  }

  mutating func code(_ value: inout LimitsAbove) {
    var group = Int64(bitPattern: value.group)
    code(&group)
    value.group = UInt64(bitPattern: group)
    code(&value.limit)
    code(&value.isRaised)
    code(&value.beyond)
  }

  mutating func code(_ value: inout CPUBase) {
    code(&value.declared)
    code(&value.floor)
    code(&value.explicitCeiling)
    code(&value.limit)
    code(&value.told)
    code(&value.application)
    code(&value.inner)
    code(&value.countsCPUs)
    code(&value.above)
  }

  mutating func code(_ value: inout MemoryBase?) {
    var isThere = false
    var base = MemoryBase(declared: nil, floor: 0, explicitCeiling: nil, limit: 0)
    if let value { (isThere, base) = (true, value) }
    code(&isThere)
    guard isThere else { return value = nil }
    code(&base.declared)
    code(&base.swapAllowance)
    code(&base.floor)
    code(&base.explicitCeiling)
    code(&base.limit)
    code(&base.hostReserve)
    code(&base.found)
    code(&base.inner)
    code(&base.told)
    code(&base.isLine)
    code(&base.application)
    code(&base.predicted)
    code(&base.above)
    value = base
  }

  mutating func code(_ value: inout PendingUpdate?) {
    var (isThere, update) = (false, PendingUpdate())
    if let value { (isThere, update) = (true, value) }
    code(&isThere)
    guard isThere else { return value = nil }
    code(&update.cpu)
    code(&update.applied)
    code(&update.memory)
    code(&update.swap)
    value = update
  }
}

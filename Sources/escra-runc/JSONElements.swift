// SPDX-License-Identifier: Apache-2.0

/// Where the elements of one JSON object or array are, as byte ranges: enough to add an element
/// to a document and leave every other byte as it is.
///
/// It looks no further than it must: it tells strings and nesting apart, and does not judge what
/// a value is. A document that is broken deeper down stays broken, and is nobody's loss.
struct JSONElements {
  /// One element of an array, or one member of an object.
  struct Element {
    /// The name between its quotes, as written; nil in an array.
    let name: Range<Int>?
    /// The value.
    let value: Range<Int>
    /// What is between this element and the comma or bracket before it.
    let lead: Range<Int>
  }

  /// Whether it is an object, not an array.
  let isObject: Bool
  /// The elements, in order.
  let elements: [Element]
  /// The closing bracket.
  let close: Int

  /// Reads the object or array at the start of `range`, after white space.
  ///
  /// - Returns: nil when there is neither, or it does not end inside the range.
  init?(_ bytes: [UInt8], in range: Range<Int>) {
    var scan = Scan(bytes: bytes, position: range.lowerBound, end: range.upperBound)
    scan.skipSpace()
    isObject = scan.current == UInt8(ascii: "{")
    guard isObject || scan.current == UInt8(ascii: "[") else { return nil }
    let closing = UInt8(ascii: isObject ? "}" : "]")
    scan.position += 1
    var elements: [Element] = []
    while true {
      let leadStart = scan.position
      scan.skipSpace()
      let start = scan.position
      if elements.isEmpty, scan.current == closing { break }
      var name: Range<Int>?
      if isObject {
        guard scan.skipString() else { return nil }
        name = (start + 1)..<(scan.position - 1)
        scan.skipSpace()
        guard scan.current == UInt8(ascii: ":") else { return nil }
        scan.position += 1
        scan.skipSpace()
      }
      let valueStart = scan.position
      guard scan.skipValue() else { return nil }
      elements.append(
        Element(name: name, value: valueStart..<scan.position, lead: leadStart..<start))
      scan.skipSpace()
      if scan.current == closing { break }
      guard scan.current == UInt8(ascii: ",") else { return nil }
      scan.position += 1
    }
    self.elements = elements
    close = scan.position
  }

  /// The value of a member; of several with one name the last, as in Go.
  func value(of name: String, in bytes: [UInt8]) -> Range<Int>? {
    elements.last { $0.name.map { bytes[$0].elementsEqual(name.utf8) } ?? false }?.value
  }

  /// The text with an element added behind the last, spaced as the last one is.
  func appending(_ element: String, to bytes: [UInt8]) -> [UInt8] {
    guard let last = elements.last else {
      return bytes[..<close] + Array(element.utf8) + bytes[close...]
    }
    let end = last.value.upperBound
    return bytes[..<end] + [UInt8(ascii: ",")] + bytes[last.lead] + Array(element.utf8)
      + bytes[end...]
  }
}

/// A position in JSON text.
private struct Scan {
  let bytes: [UInt8]
  var position: Int
  let end: Int

  /// The byte here; 0, which no JSON text holds, at the end.
  var current: UInt8 { position < end ? bytes[position] : 0 }

  mutating func skipSpace() {
    while [0x20, 0x09, 0x0A, 0x0D].contains(current) { position += 1 }
  }

  /// Skips a string with its quotes.
  mutating func skipString() -> Bool {
    guard current == UInt8(ascii: "\"") else { return false }
    position += 1
    while position < end {
      switch bytes[position] {
      case UInt8(ascii: "\""):
        position += 1
        return true
      case UInt8(ascii: "\\"): position += 2
      default: position += 1
      }
    }
    return false
  }

  /// Skips a value of any kind, without recursion.
  mutating func skipValue() -> Bool {
    switch current {
    case UInt8(ascii: "\""): return skipString()
    case UInt8(ascii: "{"), UInt8(ascii: "["): return skipNested()
    default:
      let start = position
      let delimiters: [UInt8] = [0, 0x20, 0x09, 0x0A, 0x0D, 0x2C, 0x3A, 0x5B, 0x5D, 0x7B, 0x7D]
      while !delimiters.contains(current) { position += 1 }
      return position > start
    }
  }

  /// Skips an object or an array with all it holds.
  private mutating func skipNested() -> Bool {
    var depth = 0
    repeat {
      switch current {
      case UInt8(ascii: "\""):
        guard skipString() else { return false }
        continue
      case UInt8(ascii: "{"), UInt8(ascii: "["): depth += 1
      case UInt8(ascii: "}"), UInt8(ascii: "]"): depth -= 1
      case 0: return false
      default: break
      }
      position += 1
    } while depth > 0
    return true
  }
}

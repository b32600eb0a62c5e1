// SPDX-License-Identifier: Apache-2.0

/// Walks a JSON document once and notes where the values of ``JSONPlace`` are.
///
/// It accepts exactly what Go's json.Decoder does, which runc reads with (measured against runc
/// 1.1.5): bytes in strings need not be UTF-8, integers may have any size, and what follows the
/// top value is not looked at. Nothing is copied, nothing is recursive: the nesting is a bit a
/// level, 10,000 levels at most.
struct JSONScanner: ~Copyable {
  /// Go's limit (encoding/json scanner.go: maxNestingDepth).
  static let deepest = 10_000

  private let bytes: UnsafeRawBufferPointer
  /// One bit a level: set where an object is open, clear for an array.
  private let nesting: UnsafeMutableBufferPointer<UInt64>
  private var position = 0
  private var depth = 0

  /// The innermost open object that is a place, and the depth of its members.
  private var container: JSONPlace
  private var containerDepth = 0
  /// What the next value is, if it is a place.
  private var target: JSONPlace?
  private var annotation: Range<Int>?
  private var spans = JSONSpans()

  /// Finds the places of a document.
  ///
  /// - Parameters:
  ///   - bytes: The document.
  ///   - root: What the document's top value is: a whole config.json, or its resources alone.
  /// - Returns: Their spans.
  /// - Throws: ``JSONError`` where Go would refuse the syntax. Wrong types are the reader's matter.
  static func scan(
    _ bytes: UnsafeRawBufferPointer, as root: JSONPlace
  ) throws(JSONError) -> JSONSpans {
    try withUnsafeTemporaryAllocation(of: UInt64.self, capacity: deepest / 64 + 1) {
      nesting throws(JSONError) in
      nesting.initialize(repeating: 0)
      var scanner = JSONScanner(bytes, nesting, root)
      try scanner.walk()
      return scanner.spans
    }
  }

  private init(
    _ bytes: UnsafeRawBufferPointer, _ nesting: UnsafeMutableBufferPointer<UInt64>,
    _ root: JSONPlace
  ) {
    self.bytes = bytes
    self.nesting = nesting
    container = root
    target = root
  }

  private mutating func walk() throws(JSONError) {
    while true {
      let byte = try nextByte()
      let start = position
      if byte == UInt8(ascii: "{") || byte == UInt8(ascii: "[") {
        let isObject = byte == UInt8(ascii: "{")
        try open(isObject)
        let next = try nextByte()
        if next != (isObject ? UInt8(ascii: "}") : UInt8(ascii: "]")) {
          if isObject { try passKey() }
          continue
        }
      } else {
        let kind = try passScalar(byte)
        note(JSONSpan(kind: kind, start: start, end: position))
      }
      if try closeWhatEnds() { return }
    }
  }

  /// After a value: passes closing brackets up to the next comma and what introduces a value.
  ///
  /// - Returns: Whether the top value has ended.
  private mutating func closeWhatEnds() throws(JSONError) -> Bool {
    while depth > 0 {
      let byte = try nextByte()
      let inObject = nesting[depth >> 6] & (1 << UInt64(depth & 63)) != 0
      if byte == UInt8(ascii: ",") {
        position += 1
        if inObject { try passKey() }
        return false
      }
      guard byte == (inObject ? UInt8(ascii: "}") : UInt8(ascii: "]")) else {
        throw JSONError(.separator, at: position)
      }
      position += 1
      if depth == containerDepth {
        spans[container].end = position
        container = container.parent
        containerDepth -= 1
      }
      depth -= 1
    }
    return true
  }

  private mutating func open(_ isObject: Bool) throws(JSONError) {
    guard depth < Self.deepest else { throw JSONError(.depth, at: position) }
    depth += 1
    let bit: UInt64 = 1 << UInt64(depth & 63)
    if isObject { nesting[depth >> 6] |= bit } else { nesting[depth >> 6] &= ~bit }
    if isObject, let target, target.shape == .object {
      container = target
      containerDepth = depth
    }
    note(JSONSpan(kind: isObject ? .object : .array, start: position, end: position + 1))
    position += 1
  }

  /// Passes a member's name and its colon, and sees whether its value is a place.
  private mutating func passKey() throws(JSONError) {
    guard try nextByte() == UInt8(ascii: "\"") else { throw JSONError(.key, at: position) }
    let start = position + 1
    try passString()
    let name = start..<position - 1
    guard try nextByte() == UInt8(ascii: ":") else { throw JSONError(.colon, at: position) }
    position += 1
    if depth != containerDepth { return }
    let key = JSONKey(bytes: UnsafeRawBufferPointer(rebasing: bytes[name]))
    if container != .annotations {
      target = container.member(key)
    } else if key.hasPrefix("io.escra.") || key.hasPrefix("io.kubernetes.")
      || key.bytes.contains(UInt8(ascii: "\\"))
    {
      annotation = name
    }
  }

  private mutating func note(_ value: JSONSpan) {
    if let target {
      spans.decode(value, at: target)
    } else if let annotation {
      spans.annotations.append(JSONSpans.Annotation(key: annotation, value: value))
    }
    target = nil
    annotation = nil
  }

  /// The next byte that is not white space; the position is on it.
  private mutating func nextByte() throws(JSONError) -> UInt8 {
    while position < bytes.count {
      let byte = bytes[position]
      if byte > 0x20 { return byte }
      guard byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 else { return byte }
      position += 1
    }
    throw JSONError(.truncated, at: position)
  }

  private mutating func passScalar(_ first: UInt8) throws(JSONError) -> JSONSpan.Kind {
    switch first {
    case UInt8(ascii: "\""):
      try passString()
      return .string
    case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"):
      try passNumber()
      return .number
    case UInt8(ascii: "t"):
      try passWord("true")
      return .bool
    case UInt8(ascii: "f"):
      try passWord("false")
      return .bool
    case UInt8(ascii: "n"):
      try passWord("null")
      return .null
    default: throw JSONError(.value, at: position)
    }
  }

  private mutating func passString() throws(JSONError) {
    let start = position
    var index = start + 1
    while index < bytes.count {
      let byte = bytes[index]
      if byte == UInt8(ascii: "\"") {
        position = index + 1
        return
      }
      if byte == UInt8(ascii: "\\") {
        index = try endOfEscape(index, in: start)
      } else if byte < 0x20 {
        throw JSONError(.control, at: index)
      } else {
        index += 1
      }
    }
    throw JSONError(.unclosedString, at: start)
  }

  private func endOfEscape(_ start: Int, in string: Int) throws(JSONError) -> Int {
    guard start + 1 < bytes.count else { throw JSONError(.unclosedString, at: string) }
    switch bytes[start + 1] {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"), UInt8(ascii: "b"),
      UInt8(ascii: "f"), UInt8(ascii: "n"), UInt8(ascii: "r"), UInt8(ascii: "t"):
      return start + 2
    case UInt8(ascii: "u"):
      for index in start + 2..<start + 6 {
        guard index < bytes.count else { throw JSONError(.unclosedString, at: string) }
        switch bytes[index] {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "f"),
          UInt8(ascii: "A")...UInt8(ascii: "F"):
          continue
        default: throw JSONError(.escape, at: start)
        }
      }
      return start + 6
    default: throw JSONError(.escape, at: start)
    }
  }

  private mutating func passNumber() throws(JSONError) {
    let start = position
    if bytes[position] == UInt8(ascii: "-") { position += 1 }
    let integer = position
    try passDigits(of: start)
    // No leading zero: RFC 8259 section 6.
    if bytes[integer] == UInt8(ascii: "0") && position > integer + 1 {
      throw JSONError(.number, at: start)
    }
    if position < bytes.count && bytes[position] == UInt8(ascii: ".") {
      position += 1
      try passDigits(of: start)
    }
    if position < bytes.count && bytes[position] | 0x20 == UInt8(ascii: "e") {
      position += 1
      if position < bytes.count
        && (bytes[position] == UInt8(ascii: "+") || bytes[position] == UInt8(ascii: "-"))
      {
        position += 1
      }
      try passDigits(of: start)
    }
  }

  /// Passes one digit or more.
  private mutating func passDigits(of number: Int) throws(JSONError) {
    let start = position
    while position < bytes.count, case UInt8(ascii: "0")...UInt8(ascii: "9") = bytes[position] {
      position += 1
    }
    if position == start { throw JSONError(.number, at: number) }
  }

  private mutating func passWord(_ word: StaticString) throws(JSONError) {
    let count = word.utf8CodeUnitCount
    let rest = UnsafeRawBufferPointer(rebasing: bytes[position...])
    guard JSONKey(bytes: rest).hasPrefix(word) else { throw JSONError(.literal, at: position) }
    position += count
  }
}

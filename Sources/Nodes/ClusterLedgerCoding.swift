// SPDX-License-Identifier: Apache-2.0

/// Why bytes are no ledger.
package enum LedgerError: Error, Equatable {
  /// More than ``ClusterLedger/mostBytes``.
  case size(Int)
  /// It is not JSON, from this byte on.
  case syntax(Int)
  /// A member is missing, or is not what it should be.
  case member(String)
  /// The format is a newer one.
  case format(Int64)
  /// The sum of what is free and held is not the limit, or an amount cannot be.
  case invalid
}

/// The ledger as JSON, with sorted names: equal ledgers have equal bytes.
extension ClusterLedger {
  /// The version of the format.
  package static let format: Int64 = 1
  /// The most bytes that are read: an engine's object is 1.5 MiB at most.
  package static let mostBytes = 1 << 20

  /// The ledger as JSON.
  package var json: [UInt8] {
    var text = "{\"format\":\(Self.format),\"id\":\"\(id)\",\"generation\":\(generation)"
    text += ",\"limit\":\(limit)"
    if let explicit { text += ",\"explicit\":\(explicit)" }
    text += ",\"free\":\(free),\"nodes\":{"
    var isFirst = true
    for (name, node) in nodes.sorted(by: { $0.key < $1.key }) {
      text += isFirst ? "" : ","
      isFirst = false
      text += "\"\(name)\":{\"held\":\(node.held),\"minimum\":\(node.minimum)"
      text += ",\"declared\":\(node.declared),\"want\":\(node.want)"
      if let mark = node.mark {
        text += ",\"mark\":{\"by\":\"\(mark.by)\",\"generation\":\(mark.generation)}"
      }
      text += "}"
    }
    return Array((text + "}}").utf8)
  }

  /// Reads a ledger.
  ///
  /// Decoding is total. Members that are not known are ignored, so that a later version may add
  /// some; a member that must not be ignored raises `format`.
  package init(json: [UInt8]) throws(LedgerError) {
    guard json.count <= Self.mostBytes else { throw .size(json.count) }
    var reader = LedgerReader(json)
    let root = try reader.document()
    guard case .object(let members) = root else { throw .syntax(0) }
    let format = try Self.amount("format", members)
    guard format == Self.format else { throw .format(format) }
    guard case .text(let id)? = members["id"] else { throw .member("id") }
    guard case .object(let entries)? = members["nodes"] else { throw .member("nodes") }
    var nodes: [String: Node] = [:]
    for (name, entry) in entries {
      guard case .object(let members) = entry else { throw .member(name) }
      var mark: Mark?
      if let value = members["mark"] {
        guard case .object(let members) = value, case .text(let by)? = members["by"] else {
          throw .member("mark")
        }
        mark = Mark(by: by, generation: try Self.amount("generation", members))
      }
      nodes[name] = Node(
        held: try Self.amount("held", members), minimum: try Self.amount("minimum", members),
        declared: try Self.amount("declared", members), want: try Self.amount("want", members),
        mark: mark)
    }
    self.init(
      id: id, generation: try Self.amount("generation", members),
      limit: try Self.amount("limit", members),
      explicit: members["explicit"] == nil ? nil : try Self.amount("explicit", members),
      free: try Self.amount("free", members), nodes: nodes)
    guard isValid else { throw .invalid }
  }

  private static func amount(
    _ name: String, _ members: [String: LedgerReader.Value]
  ) throws(LedgerError) -> Int64 {
    guard case .number(let number)? = members[name], number >= 0 else { throw .member(name) }
    return number
  }
}

/// Reads as much of JSON as a ledger needs: objects, texts without escapes, whole numbers.
///
/// Other values are passed over, for members that are not known.
struct LedgerReader {
  enum Value {
    case object([String: Value])
    case text(String)
    case number(Int64)
    case other
  }

  private let bytes: [UInt8]
  private var position = 0
  private static let deepest = 8

  init(_ bytes: [UInt8]) { self.bytes = bytes }

  /// Reads the one value that the bytes are.
  mutating func document() throws(LedgerError) -> Value {
    let value = try value(depth: 0)
    skipSpace()
    guard position == bytes.count else { throw .syntax(position) }
    return value
  }

  private var byte: UInt8? { position < bytes.count ? bytes[position] : nil }

  private mutating func skipSpace() {
    while let byte, [0x20, 0x09, 0x0A, 0x0D].contains(byte) { position += 1 }
  }

  private mutating func take(_ character: Unicode.Scalar) -> Bool {
    skipSpace()
    guard byte == UInt8(ascii: character) else { return false }
    position += 1
    return true
  }

  private mutating func value(depth: Int) throws(LedgerError) -> Value {
    guard depth < Self.deepest else { throw .syntax(position) }
    skipSpace()
    switch byte {
    case UInt8(ascii: "{"): return .object(try object(depth))
    case UInt8(ascii: "["):
      position += 1
      if take("]") { return .other }
      repeat { _ = try value(depth: depth + 1) } while take(",")
      guard take("]") else { throw .syntax(position) }
      return .other
    case UInt8(ascii: "\""):
      guard let text = try text() else { return .other }
      return .text(text)
    case UInt8(ascii: "-")?: return try number()
    case .some(UInt8(ascii: "0")...UInt8(ascii: "9")): return try number()
    default:
      for word in ["true", "false", "null"]
      where bytes[position...].starts(with: Array(word.utf8)) {
        position += word.utf8.count
        return .other
      }
      throw .syntax(position)
    }
  }

  private mutating func object(_ depth: Int) throws(LedgerError) -> [String: Value] {
    position += 1
    var members: [String: Value] = [:]
    if take("}") { return members }
    repeat {
      skipSpace()
      guard byte == UInt8(ascii: "\"") else { throw .syntax(position) }
      let start = position
      let name = try text()
      guard take(":") else { throw .syntax(position) }
      let value = try value(depth: depth + 1)
      guard let name else { continue }
      // One name twice may mean one thing to one reader and another to the next.
      guard members.updateValue(value, forKey: name) == nil else { throw .syntax(start) }
    } while take(",")
    guard take("}") else { throw .syntax(position) }
    return members
  }

  /// A text; nil where it has escapes, which nothing that a ledger needs has.
  private mutating func text() throws(LedgerError) -> String? {
    position += 1
    let start = position
    var isPlain = true
    while let byte, byte != UInt8(ascii: "\"") {
      guard byte >= 0x20 else { throw .syntax(position) }
      if byte == UInt8(ascii: "\\") {
        isPlain = false
        position += 1
      }
      position += 1
    }
    guard byte != nil else { throw .syntax(min(position, bytes.count)) }
    defer { position += 1 }
    return isPlain ? String(decoding: bytes[start..<position], as: UTF8.self) : nil
  }

  private mutating func number() throws(LedgerError) -> Value {
    let start = position
    if byte == UInt8(ascii: "-") { position += 1 }
    var number: Int64? = 0
    let digits = position
    while let byte, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) {
      let (tenfold, isTooMuch) = (number ?? 0).multipliedReportingOverflow(by: 10)
      let (sum, isMore) = tenfold.addingReportingOverflow(Int64(byte - UInt8(ascii: "0")))
      number = number == nil || isTooMuch || isMore ? nil : sum
      position += 1
    }
    guard position > digits else { throw .syntax(start) }
    let isWhole = ![UInt8(ascii: "."), UInt8(ascii: "e"), UInt8(ascii: "E")].contains(byte ?? 0)
    // The rest of a fraction; nothing that a ledger needs is one.
    while let byte, [0x2B, 0x2D, 0x2E, 0x45, 0x65].contains(byte) || (0x30...0x39).contains(byte) {
      position += 1
    }
    guard isWhole, let number else { return .other }
    return .number(bytes[start] == UInt8(ascii: "-") ? -number : number)
  }
}

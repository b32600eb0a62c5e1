// SPDX-License-Identifier: Apache-2.0

/// Values as D-Bus puts them into bytes, little-endian: what a method call of ours consists of.
///
/// D-Bus specification, "Marshaling (Wire Format)": each value starts at a multiple of its
/// alignment, counted from the start of the header or of the body.
struct DBusBytes {
  private(set) var bytes: [UInt8] = []

  /// A value with its type, as a variant holds it.
  enum Value {
    case text(String)
    case flag(Bool)
    case numbers([UInt32])
    case bytes(UInt64)
  }

  private mutating func align(_ boundary: Int) {
    while bytes.count % boundary != 0 { bytes.append(0) }
  }

  mutating func append(byte: UInt8) { bytes.append(byte) }

  mutating func append(_ number: UInt32) {
    align(4)
    withUnsafeBytes(of: number.littleEndian) { bytes.append(contentsOf: $0) }
  }

  mutating func append(_ text: String) {
    append(UInt32(text.utf8.count))
    bytes.append(contentsOf: text.utf8)
    bytes.append(0)
  }

  mutating func append(signature: String) {
    bytes.append(UInt8(truncatingIfNeeded: signature.utf8.count))
    bytes.append(contentsOf: signature.utf8)
    bytes.append(0)
  }

  mutating func append(_ variant: Value) {
    switch variant {
    case .text(let text):
      append(signature: "s")
      append(text)
    case .flag(let flag):
      append(signature: "b")
      append(flag ? 1 : 0)
    case .numbers(let numbers):
      append(signature: "au")
      append(UInt32(4 * numbers.count))
      for number in numbers { append(number) }
    case .bytes(let count):
      append(signature: "t")
      align(8)
      withUnsafeBytes(of: count.littleEndian) { bytes.append(contentsOf: $0) }
    }
  }

  /// An array of structures, which start at multiples of 8; its length leaves the first gap out.
  mutating func appendStructures<Element>(
    _ elements: [Element], _ append: (inout DBusBytes, Element) -> Void
  ) {
    self.append(UInt32(0))
    let length = bytes.count - 4
    align(8)
    let start = bytes.count
    for element in elements {
      align(8)
      append(&self, element)
    }
    let count = UInt32(bytes.count - start)
    withUnsafeBytes(of: count.littleEndian) {
      bytes.replaceSubrange(length..<length + 4, with: $0)
    }
  }

  /// Named values: `a(sv)`.
  mutating func append(properties: [(String, Value)]) {
    appendStructures(properties) { bytes, property in
      bytes.append(property.0)
      bytes.append(property.1)
    }
  }

  /// A method call that expects a reply; it will name the call's serial number, which is not 0.
  static func call(
    _ member: String, serial: UInt32, destination: String, path: String, interface: String,
    signature: String, body: DBusBytes
  ) -> [UInt8] {
    var message = DBusBytes()
    // Little-endian, METHOD_CALL, no flags, version 1.
    for byte in [UInt8(ascii: "l"), 1, 0, 1] { message.append(byte: byte) }
    message.append(UInt32(body.bytes.count))
    message.append(serial)
    let fields: [(UInt8, String, String)] = [
      (1, "o", path), (2, "s", interface), (3, "s", member), (6, "s", destination),
      (8, "g", signature),
    ]
    message.appendStructures(fields) { bytes, field in
      bytes.append(byte: field.0)
      bytes.append(signature: field.1)
      if field.1 == "g" { bytes.append(signature: field.2) } else { bytes.append(field.2) }
    }
    message.align(8)
    return message.bytes + body.bytes
  }
}

/// What of a message that came the caller of a method has to know.
struct DBusReply: Equatable {
  /// What it is.
  enum Kind: Equatable {
    case result
    case failure
    /// A signal, or a call: nobody has asked for it.
    case other
  }

  let kind: Kind
  /// The call that it answers; 0 for none.
  let answers: UInt32
  /// The error's name, or "".
  let error: String

  /// More than this is no message that we wait for (the specification allows 128 MiB).
  static let limit = 1 << 20

  /// Takes the first message off what has been received.
  ///
  /// - Parameter bytes: What has come so far; the message is removed.
  /// - Returns: nil as long as it is not all there.
  /// - Throws: ``Nonsense`` for what is no message.
  static func take(from bytes: inout [UInt8]) throws(Nonsense) -> DBusReply? {
    guard bytes.count >= 16 else { return nil }
    guard bytes[0] == UInt8(ascii: "l"), bytes[3] == 1 else { throw Nonsense() }
    let body = Int(word(bytes, 4))
    let fields = Int(word(bytes, 12))
    guard body < limit, fields < limit else { throw Nonsense() }
    let start = 16 + (fields + 7) / 8 * 8
    guard bytes.count >= start + body else { return nil }
    var answers: UInt32 = 0
    var error = ""
    var place = 16
    while place + 8 <= 16 + fields {
      // Code, signature of one letter, value.
      let code = bytes[place]
      let letter = bytes[place + 2]
      let size = Int(word(bytes, place + 4))
      switch letter {
      case UInt8(ascii: "u"):
        if code == 5 { answers = word(bytes, place + 4) }
        place += 8
      case UInt8(ascii: "s"), UInt8(ascii: "o"):
        guard size < limit, place + 8 + size < start else { throw Nonsense() }
        if code == 4 {
          error = String(decoding: bytes[place + 8..<place + 8 + size], as: UTF8.self)
        }
        place += 8 + size + 1
      case UInt8(ascii: "g"): place += 4 + Int(bytes[place + 4]) + 2
      default: throw Nonsense()
      }
      place = (place + 7) / 8 * 8
    }
    let kind: Kind = bytes[1] == 2 ? .result : bytes[1] == 3 ? .failure : .other
    bytes.removeFirst(start + body)
    return DBusReply(kind: kind, answers: answers, error: error)
  }

  /// Bytes that are no message.
  struct Nonsense: Error, Equatable {}

  private static func word(_ bytes: [UInt8], _ place: Int) -> UInt32 {
    (0..<4).reduce(0) { $0 | UInt32(bytes[place + $1]) << (8 * UInt32($1)) }
  }
}

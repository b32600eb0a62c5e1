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
    case signal
    /// A call that answers none of ours.
    case other
  }

  let kind: Kind
  /// The call that it answers; 0 for none.
  var answers: UInt32 = 0
  /// The error's name, or "".
  var error = ""
  /// What is signalled, or "".
  var member = ""
  /// Its values, as they came.
  var body: [UInt8] = []

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
    let kinds: [UInt8: Kind] = [2: .result, 3: .failure, 4: .signal]
    var reply = DBusReply(kind: kinds[bytes[1]] ?? .other)
    var place = 16
    while place + 8 <= 16 + fields {
      // Code, signature of one letter, value.
      let code = bytes[place]
      let letter = bytes[place + 2]
      let size = Int(word(bytes, place + 4))
      switch letter {
      case UInt8(ascii: "u"):
        if code == 5 { reply.answers = word(bytes, place + 4) }
        place += 8
      case UInt8(ascii: "s"), UInt8(ascii: "o"):
        guard size < limit, place + 8 + size < start else { throw Nonsense() }
        if code == 3 || code == 4 {
          let text = String(decoding: bytes[place + 8..<place + 8 + size], as: UTF8.self)
          if code == 3 { reply.member = text } else { reply.error = text }
        }
        place += 8 + size + 1
      case UInt8(ascii: "g"): place += 4 + Int(bytes[place + 4]) + 2
      default: throw Nonsense()
      }
      place = (place + 7) / 8 * 8
    }
    reply.body = Array(bytes[start..<start + body])
    bytes.removeFirst(start + body)
    return reply
  }

  /// Bytes that are no message.
  struct Nonsense: Error, Equatable {}

  /// The texts and paths in the body, one behind the other.
  ///
  /// - Parameter place: Where the first of them begins.
  /// - Returns: As many as there are whole.
  func texts(from place: Int) -> [String] {
    var texts: [String] = []
    var place = place
    while place + 4 <= body.count {
      let end = place + 4 + Int(Self.word(body, place))
      guard end < body.count else { break }
      texts.append(String(decoding: body[place + 4..<end], as: UTF8.self))
      // The zero behind it, and what is missing of a multiple of 4.
      place = (end + 1 + 3) / 4 * 4
    }
    return texts
  }

  private static func word(_ bytes: [UInt8], _ place: Int) -> UInt32 {
    (0..<4).reduce(0) { $0 | UInt32(bytes[place + $1]) << (8 * UInt32($1)) }
  }
}

// SPDX-License-Identifier: Apache-2.0

/// Reads values from their spans, as Go would decode them.
struct SpanReader {
  let bytes: UnsafeRawBufferPointer
  let spans: JSONSpans
  /// What the top value is.
  let root: JSONPlace
  /// What to call the document in errors.
  let document: String

  /// Walks a document and sees that every object this project looks into is one.
  init(
    _ bytes: UnsafeRawBufferPointer, as root: JSONPlace, document: String
  ) throws(ConfigError) {
    do throws(JSONError) {
      spans = try JSONScanner.scan(bytes, as: root)
    } catch { throw .notJSON(document: document, error) }
    self.bytes = bytes
    self.root = root
    self.document = document
    for raw in root.rawValue..<root.below.upperBound {
      guard let place = JSONPlace(rawValue: raw), place.shape == .object else { continue }
      switch spans[place].kind {
      case .object: continue
      // runc panics on a document that is null, and takes every other null for absent.
      case .absent, .null: if place != root { continue }
      default: break
      }
      throw wrongType(place, "an object")
    }
  }

  /// An int64 or a uint64; nil where there is none or it is null.
  ///
  /// A uint64 that is too large for Int64 becomes the largest: the kernel refuses both.
  func integer(_ place: JSONPlace) throws(ConfigError) -> Int64? {
    let span = spans[place]
    if span.kind == .absent || span.kind == .null { return nil }
    // Go parses the literal, so 1.0 and 1e3 are no integers, and -0 is none without a sign.
    if span.kind == .number {
      let literal = String(
        decoding: UnsafeRawBufferPointer(rebasing: bytes[span.range]), as: UTF8.self)
      if place.shape == .unsigned {
        if bytes[span.start] != UInt8(ascii: "-"), let value = UInt64(literal) {
          return Int64(clamping: value)
        }
      } else if let value = Int64(literal) {
        return value
      }
    }
    throw wrongType(
      place, place.shape == .unsigned ? "a whole number of 64 bits" : "an integer of 64 bits")
  }

  /// A string; nil where there is none or it is null or empty.
  func string(_ place: JSONPlace) throws(ConfigError) -> String? {
    let span = spans[place]
    if span.kind == .absent || span.kind == .null { return nil }
    guard span.kind == .string,
      let text = decodeString(UnsafeRawBufferPointer(rebasing: bytes[span.range]))
    else { throw wrongType(place, "a string of Unicode text") }
    return text.isEmpty ? nil : text
  }

  private func wrongType(_ place: JSONPlace, _ expected: String) -> ConfigError {
    let span = spans[place]
    return .wrongType(
      document: document, member: place == root ? "" : place.path(from: root),
      value: description(of: span), expected: expected)
  }

  /// A value as an error shows it.
  func description(of span: JSONSpan) -> String {
    switch span.kind {
    case .absent: "absent"
    case .array: "an array"
    case .object: "an object"
    default: excerpt(UnsafeRawBufferPointer(rebasing: bytes[span.range]))
    }
  }
}

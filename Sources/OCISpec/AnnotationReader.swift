// SPDX-License-Identifier: Apache-2.0

extension SpanReader {
  /// The annotations under `io.escra.` and `io.kubernetes.`, sorted by key, the last of equal keys.
  ///
  /// Sorted rather than hashed: there are a few dozen at most in practice, hashing would touch
  /// pages that nothing else here does, and a hostile document cannot make it quadratic.
  func annotations() throws(ConfigError) -> [(key: String, value: String)] {
    var found: [(key: String, value: String, order: Int)] = []
    for (order, annotation) in spans.annotations.enumerated() {
      guard let key = try key(of: annotation) else { continue }
      guard let value = try value(of: annotation, key: key) else { continue }
      found.append((key, value, order))
    }
    found.sort {
      $0.key.utf8.elementsEqual($1.key.utf8)
        ? $0.order < $1.order : $0.key.utf8.lexicographicallyPrecedes($1.key.utf8)
    }
    var result: [(key: String, value: String)] = []
    for (key, value, _) in found {
      if let last = result.last, last.key.utf8.elementsEqual(key.utf8) { result.removeLast() }
      result.append((key, value))
    }
    return result
  }

  /// The decoded key if it is one that matters.
  private func key(of annotation: JSONSpans.Annotation) throws(ConfigError) -> String? {
    let quoted = annotation.key.lowerBound - 1..<annotation.key.upperBound + 1
    guard let key = decodeString(UnsafeRawBufferPointer(rebasing: bytes[quoted])) else {
      let raw = UnsafeRawBufferPointer(rebasing: bytes[annotation.key])
      if !JSONKey(bytes: raw).hasPrefix("io.escra.") { return nil }
      throw .undecodable(document: document, annotation: excerpt(raw))
    }
    let isOurs = key.utf8.starts(with: "io.escra.".utf8)
    return isOurs || key.utf8.starts(with: "io.kubernetes.".utf8) ? key : nil
  }

  private func value(
    of annotation: JSONSpans.Annotation, key: String
  ) throws(ConfigError) -> String? {
    switch annotation.value.kind {
    // In a Go map of strings a null is the empty string.
    case .null: return ""
    case .string: break
    default:
      throw .wrongType(
        document: document, member: "annotations.\(escaped(key))",
        value: description(of: annotation.value), expected: "a string")
    }
    let literal = UnsafeRawBufferPointer(rebasing: bytes[annotation.value.range])
    if let value = decodeString(literal) { return value }
    if !key.utf8.starts(with: "io.escra.".utf8) { return nil }
    throw .undecodable(document: document, annotation: escaped(key))
  }
}

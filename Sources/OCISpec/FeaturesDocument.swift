// SPDX-License-Identifier: Apache-2.0

/// What a low-level runtime prints for `features` (runtime-spec, features.md).
package struct FeaturesDocument {
  private let bytes: [UInt8]
  private let spans: JSONSpans

  /// Reads a document; nil for what is no JSON object.
  package init?(_ bytes: [UInt8]) {
    // Only the program that asked can say what is wrong with another document.
    guard
      let spans = try? bytes.withUnsafeBytes({ buffer throws(JSONError) in
        try JSONScanner.scan(buffer, as: .features)
      }), spans[.features].kind == .object,
      bytes[spans[.features].end...].allSatisfy({ [0x20, 0x09, 0x0A, 0x0D].contains($0) })
    else { return nil }
    (self.bytes, self.spans) = (bytes, spans)
  }

  /// The document with an annotation, and with a prefix of annotations that change what a container
  /// may do: from runtime-spec 1.2 on, and where the runtime has that member before its time, as
  /// crun.
  ///
  /// Members of other types stay as they are.
  package func adding(annotation: (name: String, value: String), prefix: String) -> [UInt8] {
    var splices: [Splice] = []
    var missing: [String] = []
    func add(_ element: String, to place: JSONPlace) {
      let span = spans[place]
      let (open, close) = place.shape == .object ? ("{", "}") : ("[", "]")
      switch span.kind {
      case .absent: missing.append("\"\(place.name)\":\(open)\(element)\(close)")
      case .null: splices.append(Splice(range: span.range, text: open + element + close))
      case .object where place.shape == .object, .array where place.shape == .array:
        splices.append(.insertion(of: element, into: span, bytes))
      default: break
      }
    }
    add("\(jsonLiteral(annotation.name)):\(jsonLiteral(annotation.value))", to: .notes)
    if isOf1_2 || spans[.unsafePrefixes].kind != .absent {
      add(jsonLiteral(prefix), to: .unsafePrefixes)
    }
    if !missing.isEmpty {
      let members = missing.joined(separator: ",")
      splices.append(.insertion(of: members, into: spans[.features], bytes))
    }
    return Splice.apply(&splices, to: bytes)
  }

  /// Whether `ociVersionMax`, "1.2.0" or "1.0.2-dev", is 1.2 or later.
  private var isOf1_2: Bool {
    let span = spans[.newestVersion]
    guard span.kind == .string else { return false }
    let parts = bytes[span.range].dropFirst().dropLast()
      .split { $0 == UInt8(ascii: ".") || $0 == UInt8(ascii: "-") }
    guard parts.count > 1, let major = Int(String(decoding: parts[0], as: UTF8.self)),
      let minor = Int(String(decoding: parts[1], as: UTF8.self))
    else { return false }
    return (major, minor) >= (1, 2)
  }
}

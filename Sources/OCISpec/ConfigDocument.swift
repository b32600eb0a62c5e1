// SPDX-License-Identifier: Apache-2.0
internal import Glibc

/// A config.json as its own bytes, with views on the few members that matter here.
///
/// It reads a document as runc does (Go's encoding/json onto runtime-spec's structs): names in
/// any case, duplicate objects merged, the last of duplicate values, null as absent.
package struct ConfigDocument: Sendable {
  /// The document, as it came.
  package let bytes: [UInt8]
  /// The annotations whose key begins with `io.escra.` or `io.kubernetes.`.
  ///
  /// Sorted by key, each key once. One of `io.kubernetes.` that is not Unicode is left out.
  package let annotations: [(key: String, value: String)]
  /// The limits in `linux.resources`.
  package let declared: DeclaredResources
  /// `linux.cgroupsPath`: a path, or SLICE:PREFIX:NAME for systemd.
  package let cgroupsPath: String?

  let spans: JSONSpans

  /// Reads a document.
  ///
  /// - Parameters:
  ///   - bytes: The document.
  ///   - name: What to call it in errors.
  /// - Throws: ``ConfigError`` where runc would refuse it too, and for an annotation of ours that
  ///   is not Unicode.
  package init(_ bytes: [UInt8], name: String = "config.json") throws(ConfigError) {
    self.bytes = bytes
    (spans, annotations, declared, cgroupsPath) = try bytes.withUnsafeBufferPointer {
      buffer throws(ConfigError) in
      let reader = try SpanReader(
        UnsafeRawBufferPointer(buffer), as: .document, document: name)
      return (
        reader.spans, try reader.annotations(), try DeclaredResources(reader),
        try reader.string(.cgroupsPath)
      )
    }
  }

  /// Variables of `process.env` whose name is a given one, or that and an underscore and more.
  ///
  /// - Parameter name: Of capital letters, digits and underscores.
  /// - Returns: In order; of a name that comes twice the last one counts, as in a process that runc
  ///   starts.
  package func variables(of name: String) -> [(name: String, value: String)] {
    bytes.withUnsafeBufferPointer { buffer in
      variablesOfEnvironment(UnsafeRawBufferPointer(buffer), spans[.env], name)
    }
  }

  /// Whether there is an annotation of ours.
  package var hasEscraAnnotation: Bool {
    annotations.contains { $0.key.utf8.starts(with: "io.escra.".utf8) }
  }

  /// Whether `io.escra.` stands anywhere in the raw bytes, or may with an escape in it
  /// (`io\u002eescra.`): without that there is nothing to parse.
  package static func mentionsEscra(_ bytes: UnsafeRawBufferPointer) -> Bool {
    guard let start = bytes.baseAddress else { return false }
    let rest: StaticString = ".escra."
    // Dots are rare in a config.json, and memchr(3) is as fast as memory.
    var position = 2
    while position < bytes.count,
      let dot = memchr(start + position, CInt(UInt8(ascii: ".")), bytes.count - position)
    {
      position = UnsafeRawPointer(dot) - start
      if bytes.count - position >= rest.utf8CodeUnitCount,
        memcmp(dot, rest.utf8Start, rest.utf8CodeUnitCount) == 0,
        bytes[position - 2] == UInt8(ascii: "i"), bytes[position - 1] == UInt8(ascii: "o")
      {
        return true
      }
      position += 1
    }
    return escapesLetter(bytes, start)
  }

  /// Whether a letter or a dot is escaped anywhere, which no engine does.
  private static func escapesLetter(
    _ bytes: UnsafeRawBufferPointer, _ start: UnsafeRawPointer
  ) -> Bool {
    var position = 0
    while position + 6 <= bytes.count,
      let escape = memchr(start + position, CInt(UInt8(ascii: "\\")), bytes.count - position)
    {
      position = UnsafeRawPointer(escape) - start
      let rest = bytes[position...].prefix(6)
      if rest.starts(with: #"\u002e"#.utf8) || rest.starts(with: #"\u002E"#.utf8)
        || rest.starts(with: #"\u006"#.utf8) || rest.starts(with: #"\u007"#.utf8)
      {
        return true
      }
      // What is escaped is no escape.
      position += 2
    }
    return false
  }
}

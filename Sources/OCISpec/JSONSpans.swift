// SPDX-License-Identifier: Apache-2.0

/// A value in a document: what it is and which bytes it takes.
struct JSONSpan: Equatable {
  enum Kind: UInt8 {
    case absent, null, bool, number, string, array, object
  }

  var kind = Kind.absent
  var start = 0
  /// One past the last byte; of an array or a foreign object only the start is known.
  var end = 0

  var range: Range<Int> { start..<end }
}

/// What one walk over a document found.
struct JSONSpans {
  /// An annotation that may be ours: where its key and its value are.
  struct Annotation {
    /// The bytes between the key's quotes.
    var key: Range<Int>
    var value: JSONSpan
  }

  /// In document order, duplicates included.
  var annotations: [Annotation] = []
  private var places = [JSONSpan](repeating: JSONSpan(), count: JSONPlace.allCases.count)

  subscript(place: JSONPlace) -> JSONSpan {
    get { places[place.rawValue] }
    set { places[place.rawValue] = newValue }
  }

  /// Takes a value over the way Go's encoding/json does: objects merge, null drops a pointer or a
  /// map and leaves a string alone, and of anything else the last one counts.
  mutating func decode(_ value: JSONSpan, at place: JSONPlace) {
    if value.kind == .null {
      if place.shape == .string && self[place].kind != .absent { return }
      for raw in place.below { places[raw] = JSONSpan() }
      if place == .annotations { annotations.removeAll() }
    }
    self[place] = value
  }
}

// SPDX-License-Identifier: Apache-2.0

/// The places of a config.json that this project looks at, as a tree, and those of the document
/// that `features` prints, as another one.
///
/// Declared in preorder, so that everything below a place is one range of raw values. The Go
/// types are those of runtime-spec's specs-go/config.go, which runc decodes into.
enum JSONPlace: Int, CaseIterable {
  case document
  case annotations
  case process
  case env
  case linux
  case cgroupsPath
  case resources
  case cpu
  case quota
  case period
  case cpus
  case mems
  case memory
  case limit
  case swap
  case reservation
  case features
  case notes
  case newestVersion
  case unsafePrefixes

  /// What Go decodes the place's value into.
  enum Shape {
    /// A struct behind a pointer, or the map of annotations: null drops what was there.
    case object
    /// An int64 behind a pointer: null drops what was there.
    case signed
    /// A uint64 behind a pointer.
    case unsigned
    /// A string: null changes nothing.
    case string
    /// A slice: null makes it empty.
    case array
  }

  var shape: Shape {
    switch self {
    case .document, .annotations, .process, .linux, .resources, .cpu, .memory, .features, .notes:
      .object
    case .quota, .limit, .swap, .reservation: .signed
    case .period: .unsigned
    case .cgroupsPath, .cpus, .mems, .newestVersion: .string
    case .env, .unsafePrefixes: .array
    }
  }

  var name: StaticString {
    switch self {
    case .document: "document"
    case .annotations: "annotations"
    case .process: "process"
    case .env: "env"
    case .linux: "linux"
    case .cgroupsPath: "cgroupsPath"
    case .resources: "resources"
    case .cpu: "cpu"
    case .quota: "quota"
    case .period: "period"
    case .cpus: "cpus"
    case .mems: "mems"
    case .memory: "memory"
    case .limit: "limit"
    case .swap: "swap"
    case .reservation: "reservation"
    case .features: "features"
    case .notes: "annotations"
    case .newestVersion: "ociVersionMax"
    case .unsafePrefixes: "potentiallyUnsafeConfigAnnotations"
    }
  }

  var parent: JSONPlace {
    switch self {
    case .document, .annotations, .process, .linux: .document
    case .env: .process
    case .cgroupsPath, .resources: .linux
    case .cpu, .memory: .resources
    case .quota, .period, .cpus, .mems: .cpu
    case .limit, .swap, .reservation: .memory
    case .features, .notes, .newestVersion, .unsafePrefixes: .features
    }
  }

  /// The raw values of everything below this place.
  var below: Range<Int> {
    let last: JSONPlace =
      switch self {
      case .document, .linux, .resources, .memory: .reservation
      case .cpu: .mems
      case .process: .env
      case .features: .unsafePrefixes
      default: self
      }
    return rawValue + 1..<last.rawValue + 1
  }

  /// The place that a member of this object is, if it is one.
  func member(_ key: JSONKey) -> JSONPlace? {
    for raw in below {
      if let place = JSONPlace(rawValue: raw), place.parent == self, key.names(place.name) {
        return place
      }
    }
    return nil
  }

  /// The way to this place from the top of a document, as people write it.
  func path(from root: JSONPlace) -> String {
    parent == root || self == root ? "\(name)" : "\(parent.path(from: root)).\(name)"
  }
}

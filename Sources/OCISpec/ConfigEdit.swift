// SPDX-License-Identifier: Apache-2.0
package import Quantities

/// Values to put into `linux.resources`, and `linux.cgroupsPath`; nil leaves what is there.
///
/// An edit is a splice into the caller's own bytes: unknown members, order, white space and
/// integers of any size stay as they were, because nothing but the values named here is written.
package struct ConfigEdit: Equatable, Sendable {
  /// CPU time in each period, in µs; -1 is no limit.
  package var cpuQuota: Int64?
  /// The period, in µs.
  package var cpuPeriod: Int64?
  /// CPUs as a list ("0-3,7").
  package var cpus: String?
  /// NUMA nodes as a list.
  package var mems: String?
  /// Memory in bytes; -1 is no limit.
  package var memoryLimit: Int64?
  /// Memory and swap together in bytes; -1 is no limit.
  package var memorySwap: Int64?
  /// `linux.cgroupsPath`.
  package var cgroupsPath: String?

  /// Makes an edit from its parts.
  package init(
    cpuQuota: Int64? = nil, cpuPeriod: Int64? = nil, cpus: String? = nil, mems: String? = nil,
    memoryLimit: Int64? = nil, memorySwap: Int64? = nil, cgroupsPath: String? = nil
  ) {
    self.cgroupsPath = cgroupsPath
    self.memoryLimit = memoryLimit
    self.memorySwap = memorySwap
    self.cpuQuota = cpuQuota
    self.cpuPeriod = cpuPeriod
    self.cpus = cpus
    self.mems = mems
  }

  /// Sets a CPU limit; no quota is written as -1.
  package static func limit(_ cpu: CFSBandwidth) -> ConfigEdit {
    ConfigEdit(cpuQuota: cpu.quota ?? -1, cpuPeriod: cpu.period)
  }

  /// The CPU quota of a container that is to have none and never had.
  ///
  /// Not -1, which is the same to runc: crun passes that on to systemd as a number, and the scope
  /// gets a hundredth of a CPU.
  package static let noQuota: Int64 = 0

  /// The values as they are written, each with its place.
  var members: [EditRecord.Member] {
    let literals: [(JSONPlace, String?)] = [
      // An edit's record has one line, and spaces between its words.
      (.cgroupsPath, cgroupsPath.map { jsonLiteral($0, isOneWord: true) }),
      (.quota, cpuQuota.map { "\($0)" }), (.period, cpuPeriod.map { "\($0)" }),
      (.cpus, cpus.map { "\"\($0)\"" }), (.mems, mems.map { "\"\($0)\"" }),
      (.limit, memoryLimit.map { "\($0)" }), (.swap, memorySwap.map { "\($0)" }),
    ]
    return literals.compactMap { place, literal in
      literal.map { EditRecord.Member(place: place, literal: $0) }
    }
  }

  /// The document with this edit applied.
  package func applied(to document: ConfigDocument) -> [UInt8] {
    applied(to: document.bytes, document.spans, root: .document)
  }

  func applied(to bytes: [UInt8], _ spans: JSONSpans, root: JSONPlace) -> [UInt8] {
    var splices: [Splice] = []
    var missing: [JSONPlace: [String]] = [:]
    for member in members {
      let place = member.place
      if spans[place].kind == .absent {
        missing[place.parent, default: []].append("\"\(place.name)\":\(member.literal)")
      } else {
        splices.append(Splice(range: spans[place].range, text: member.literal))
      }
    }
    // What an object gets that is not there itself goes with it into the one around it.
    for object in [JSONPlace.cpu, .memory, .resources, .linux, .document] {
      guard let texts = missing[object] else { continue }
      let members = texts.joined(separator: ",")
      if spans[object].kind == .absent, object != root {
        missing[object.parent, default: []].append("\"\(object.name)\":{\(members)}")
      } else {
        splices.append(.insertion(of: members, into: spans[object], bytes))
      }
    }
    return Splice.apply(&splices, to: bytes)
  }
}

/// Bytes to put in the place of others.
struct Splice {
  let range: Range<Int>
  let text: String

  /// Adds members to an object, or elements to an array; takes the place of what is neither.
  static func insertion(of members: String, into span: JSONSpan, _ bytes: [UInt8]) -> Splice {
    guard span.kind == .object || span.kind == .array else {
      return Splice(range: span.range, text: "{\(members)}")
    }
    // At the start: a duplicate object that follows merges and takes nothing away.
    let start = span.start + 1
    let isEmpty = bytes[start...].first { $0 > 0x20 }.map { [0x5D, 0x7D].contains($0) } == true
    return Splice(range: start..<start, text: isEmpty ? members : members + ",")
  }

  /// The bytes with every splice made; they must not overlap.
  static func apply(_ splices: inout [Splice], to bytes: [UInt8]) -> [UInt8] {
    splices.sort { $0.range.lowerBound < $1.range.lowerBound }
    var result: [UInt8] = []
    result.reserveCapacity(bytes.count + splices.reduce(0) { $0 + $1.text.utf8.count })
    var position = 0
    for splice in splices {
      result += bytes[position..<splice.range.lowerBound]
      result += splice.text.utf8
      position = splice.range.upperBound
    }
    result += bytes[position...]
    return result
  }
}

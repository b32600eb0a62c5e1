// SPDX-License-Identifier: Apache-2.0
internal import Quantities

/// Slices of ours around containers' scopes: systemd makes and removes them when asked
/// (org.freedesktop.systemd1(5), StartTransientUnit and StopUnit).
extension ScopeRequest {
  /// Asks for a slice.
  ///
  /// - Parameters:
  ///   - slice: Its name; its parents come with it.
  ///   - id: The container's, for people.
  ///   - limits: The first limits: systemd writes them whenever it writes the slice's files.
  package init?(starting slice: String, for id: String, _ limits: FirstLimits) {
    let isPrintable = id.utf8.allSatisfy { (0x20..<0x7f).contains($0) }
    var body = DBusBytes()
    body.append(slice)
    body.append("fail")
    body.append(
      properties: [
        ("Description", .text("Limits of container " + (isPrintable ? id : ""))),
        ("CollectMode", .text("inactive-or-failed")),
      ] + limits.properties)
    body.appendStructures([String]()) { $0.append($1) }
    self.init(
      calling: "StartTransientUnit", signature: "ssa(sv)a(sa(sv))", body: body)
  }

  /// Asks for the end of a slice; systemd ends the scopes in it, too, so there must be none.
  package init?(stopping slice: String) {
    var body = DBusBytes()
    body.append(slice)
    // A start that waits is another container's.
    body.append("fail")
    self.init(calling: "StopUnit", signature: "ss", body: body)
  }
}

extension FirstLimits {
  /// As systemd.resource-control(5) has them.
  var properties: [(String, DBusBytes.Value)] {
    // Either has systemd enable the controller in all groups above.
    var properties: [(String, DBusBytes.Value)] = [
      ("CPUWeight", .bytes(100)), ("MemoryAccounting", .flag(true)),
    ]
    if let cpu, let cores = cpu.nanocores {
      properties += [
        ("CPUQuotaPerSecUSec", .bytes(UInt64(cores / 1000))),
        ("CPUQuotaPeriodUSec", .bytes(UInt64(cpu.period))),
      ]
    }
    // The first limit could be less than what is used when systemd writes it again, and so a kill.
    if let mostMemory { properties.append(("MemoryMax", .bytes(UInt64(mostMemory)))) }
    return properties
  }
}

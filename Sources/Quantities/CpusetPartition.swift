// SPDX-License-Identifier: Apache-2.0

/// What cpuset.cpus.partition says.
package enum CpusetPartition: Sendable {
  /// A group like any other; so is every one where the kernel has no such file.
  case member
  /// No other group has its exclusive CPUs; "isolated" is the same to a fence.
  case root
  /// It should be one, and others run there.
  case invalid

  /// Reads the file: "member", "root", "root invalid (Cpu list in cpuset.cpus not exclusive)".
  package init(_ text: String) {
    let words = text.split(at: "\n").first?.split(at: " ") ?? []
    self = words.first ?? "member" == "member" ? .member : words.count > 1 ? .invalid : .root
  }
}

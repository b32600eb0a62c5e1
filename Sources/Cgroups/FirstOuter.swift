// SPDX-License-Identifier: Apache-2.0
internal import Glibc
package import Quantities
package import Syscalls

/// The group of ours around a container's own, while the low-level runtime makes that one: the first
/// limits and the weights hold at the first instruction.
///
/// systemd, asked for a scope in it, writes the most that it was told.
package final class FirstOuter {
  /// Reports that the container's own group was made, and what other processes write.
  package let watch = FileWatch.ifAvailable()
  private let hierarchies: [GroupWeights.Directories]
  /// The group whose limits move.
  private let outer: String
  private var limits: [(file: CgroupFile, text: String)] = []

  /// Starts to listen; nil for a container that has one group.
  ///
  /// - Parameter hierarchies: Its groups; that with the limits that move is the last one.
  package init?(_ hierarchies: [GroupWeights.Directories]) {
    self.hierarchies = hierarchies
    guard let outer = hierarchies.last?.outer else { return nil }
    self.outer = outer
    // Without a watch the supervisor carries weights and limits once it has found the container.
    if (try? watch.addChildren(of: outer)) == nil { return nil }
    // The low-level runtime makes those of cgroup v1 on its way to the container's own.
    for directories in hierarchies.dropLast() {
      _ = mkdir(directories.outer, 0o755)
      // Its weight is carried later.
      try? watch.addChildren(of: directories.outer)
    }
    for file in [CgroupFile.cpuQuota, .memoryLimit] {
      let path = outer + "/" + (file.nameV2 ?? "")
      // cgroup v1 has no such file here: there systemd writes none.
      try? watch.addWrites(toFile: path)
      keep(file)
    }
  }

  /// Writes what an application has granted: no process is in the group yet.
  ///
  /// - Parameters:
  ///   - cpu: The CPU limit; cgroup v1 has it in the container's own group.
  ///   - memory: The memory limit in bytes; nil where that is left alone.
  ///   - swap: The limit of memory and swap together, on cgroup v1.
  /// - Throws: ``SystemError``.
  package func limit(_ cpu: CFSBandwidth, _ memory: Int64?, swap: Int64?) throws(SystemError) {
    let isLegacy = limits.isEmpty
    if !isLegacy {
      try FileDescriptor.open(.cpuQuota, of: outer, .v2, O_WRONLY).overwrite(
        cpu.cpuMax, subject: "the CPU quota")
      keep(.cpuQuota)
    }
    if let memory {
      let writer = try MemoryWriter(
        directory: outer, version: isLegacy ? .v1 : .v2, readOnly: false)
      try writer.set(memory, swap: swap) { 0 }
      if !isLegacy { keep(.memoryLimit) }
    }
  }

  private func keep(_ file: CgroupFile) {
    limits.removeAll { $0.file == file }
    if let text = file.text(of: outer, .v2) { limits.append((file, text)) }
  }

  /// The container's own group was made, or another process has written a file.
  package func look() {
    watch.drain()
    GroupWeights.watch(hierarchies, by: watch)
    GroupWeights.carry(hierarchies)
    for (file, text) in limits where file.text(of: outer, .v2) != text { bringBack(file, text) }
  }

  private func bringBack(_ file: CgroupFile, _ text: String) {
    if file == .memoryLimit, let limit = MemoryWriter.limit(text), limit < MemoryLimit.unlimited {
      let directory = outer
      // Less than what is used would be a kill. Refused, the supervisor writes its own limit soon.
      let writer = try? MemoryWriter(directory: directory, version: .v2, readOnly: false)
      try? writer?.set(limit, swap: nil) { () throws(SystemError) in
        try FileDescriptor.open(.memoryUsage, of: directory, .v2, O_RDONLY)
          .integer(subject: "the memory usage") ?? .max
      }
    } else if let file = FileDescriptor.openIfPossible(file, of: outer, .v2, O_WRONLY) {
      // The same.
      try? file.overwrite(text, subject: "a limit")
    }
  }
}

// SPDX-License-Identifier: Apache-2.0
internal import Glibc
package import Quantities
package import Syscalls

/// How much CPU time a cgroup has used so far.
///
/// One pread(2) of a file that stays open, about a microsecond. `nr_throttled` is not looked at:
/// the kernel counts a throttle when its period has ended, and under a controller that lifts
/// throttles early it stays 0.
package struct UsageMeter: ~Copyable {
  /// The file that is read and how.
  package enum Format: String, Sendable {
    /// cpuacct.usage: nanoseconds, alone (Documentation/admin-guide/cgroup-v1/cpuacct.rst).
    case nanoseconds
    /// cpu.stat: its usage_usec line (Documentation/admin-guide/cgroup-v2.rst).
    case cpuStat
  }

  private let file: FileDescriptor
  private let format: Format

  /// Reads from an open cpuacct.usage or cpu.stat.
  package init(owning file: consuming FileDescriptor, format: Format) {
    self.file = file
    self.format = format
  }

  /// Opens the one of a container.
  ///
  /// - Parameters:
  ///   - cpu: Its directory in the cpu hierarchy.
  ///   - cpuacct: Its directory in that of cpuacct; nil if there is none.
  ///   - version: The interface.
  /// - Throws: ``SystemError``.
  package init(
    cpu: String, cpuacct: String?, _ version: CgroupVersion
  ) throws(SystemError) {
    if version == .v1, let cpuacct {
      file = try FileDescriptor.open(.cpuUsage, of: cpuacct, version, O_RDONLY)
      format = .nanoseconds
    } else {
      file = try FileDescriptor.open(.cpuStatistics, of: cpu, version, O_RDONLY)
      format = .cpuStat
    }
  }

  /// Gives the file away, and says how it is read.
  package consuming func release() -> (file: Int32, format: Format) { (file.release(), format) }

  /// CPU time used so far.
  ///
  /// - Returns: Nanoseconds.
  /// - Throws: ``SystemError``; ENODEV once the cgroup is gone.
  package func read() throws(SystemError) -> Nanoseconds {
    let found =
      switch format {
      case .nanoseconds: try file.integer(subject: "the CPU usage")
      case .cpuStat: Self.usage(inStatistics: try file.contents(subject: "the CPU usage"))
      }
    guard let usage = found else {
      throw SystemError("read", "the CPU usage", errno: 22)
    }
    return usage
  }

  /// How long the group was throttled, by the text of cpu.stat: v1's throttled_time is in
  /// nanoseconds, v2's throttled_usec in microseconds.
  package static func throttledTime(in text: String) -> Nanoseconds? {
    MemoryMeter.number(behind: "throttled_time ", in: text)
      ?? MemoryMeter.number(behind: "throttled_usec ", in: text).map { $0 &* 1000 }
  }

  static func usage(inStatistics text: String) -> Nanoseconds? {
    for line in text.split(separator: "\n") where line.utf8.starts(with: "usage_usec ".utf8) {
      return Int64(line.dropFirst(11)).map { $0 * 1000 }
    }
    return nil
  }
}

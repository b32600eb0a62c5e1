// SPDX-License-Identifier: Apache-2.0
package import Syscalls

/// How much memory a cgroup uses, and how much the machine has left.
///
/// One pread(2) of a file that stays open each: the usage takes a microsecond, memory.stat six.
package struct MemoryMeter: ~Copyable {
  private let usageFile: FileDescriptor
  private let statistics: FileDescriptor
  private let killsFile: FileDescriptor
  private let machine: FileDescriptor
  private let pressure: FileDescriptor

  /// Reads from open files.
  ///
  /// - Parameters:
  ///   - usage: memory.usage_in_bytes or memory.current.
  ///   - statistics: memory.stat.
  ///   - kills: memory.oom_control or memory.events.local.
  ///   - machine: /proc/meminfo.
  ///   - pressure: /proc/pressure/memory; none where the kernel counts no stalls.
  package init(
    usage: consuming FileDescriptor, statistics: consuming FileDescriptor,
    kills: consuming FileDescriptor, machine: consuming FileDescriptor,
    pressure: consuming FileDescriptor = .none
  ) {
    usageFile = usage
    self.statistics = statistics
    killsFile = kills
    self.machine = machine
    self.pressure = pressure
  }

  /// All that is charged to the group, in bytes.
  ///
  /// - Throws: ``SystemError``; ENODEV once the group is gone.
  package func usage() throws(SystemError) -> Int64 {
    guard let usage = try usageFile.integer(subject: "the memory usage") else {
      throw SystemError("read", "the memory usage", errno: 22)
    }
    return usage
  }

  /// Page cache that was not used again, in bytes: of the group and those below it.
  package func inactiveFile() -> Int64 {
    guard let text = try? statistics.contents(subject: "memory.stat") else { return 0 }
    // v1 has the group's own beside the sum; v2's are sums.
    return Self.number(behind: "total_inactive_file ", in: text)
      ?? Self.number(behind: "inactive_file ", in: text) ?? 0
  }

  /// The page cache of the group and those below it, in bytes: what was read once, what was read
  /// again, and what was read again after it had been dropped.
  package func pageCache() -> (inactive: Int64, active: Int64, refaulted: Int64) {
    guard let text = try? statistics.contents(subject: "memory.stat") else { return (0, 0, 0) }
    func sum(_ name: String) -> Int64? {
      Self.number(behind: "total_" + name, in: text) ?? Self.number(behind: name, in: text)
    }
    // Linux before 5.9 counts both kinds as one, which were files' alone.
    let pages = sum("workingset_refault_file ") ?? sum("workingset_refault ") ?? 0
    return (sum("inactive_file ") ?? 0, sum("active_file ") ?? 0, min(pages, .max >> 12) << 12)
  }

  /// How many processes of the group the kernel has killed for want of memory; nil where it does
  /// not say.
  package func kills() -> Int64? {
    guard let text = killsFile.contentsIfReadable() else { return nil }
    return Self.kills(in: text)
  }

  /// How many processes were killed, by the text of memory.oom_control or memory.events.
  package static func kills(in text: String) -> Int64? { number(behind: "oom_kill ", in: text) }

  /// What the machine could hand out without swapping, in bytes: MemAvailable of /proc/meminfo.
  package func available() -> Int64? {
    guard machine.isOpen, let text = try? machine.contents(subject: "/proc/meminfo") else {
      return nil
    }
    return Self.number(behind: "MemAvailable:", in: text).map { $0 * 1024 }
  }

  /// For how many percent of the last ten seconds all that would have run on the machine waited for
  /// memory instead: "full avg10" of /proc/pressure/memory (Documentation/accounting/psi.rst); 0
  /// where the kernel does not count it.
  package func stalledPercent() -> Int64 {
    guard pressure.isOpen, let text = try? pressure.contents(subject: "the memory pressure") else {
      return 0
    }
    return Self.number(behind: "full avg10=", in: text) ?? 0
  }

  /// The least limit of a group of cgroup v1 and those above it, in bytes: what memory.stat calls
  /// hierarchical_memory_limit.
  package static func hierarchicalLimit(inStatistics text: String) -> Int64? {
    number(behind: "hierarchical_memory_limit ", in: text)
  }

  /// The number behind a name that begins a line.
  package static func number(behind name: String, in text: String) -> Int64? {
    var rest = text.utf8[...]
    while !rest.isEmpty {
      if rest.starts(with: name.utf8) { return number(rest.dropFirst(name.utf8.count)) }
      guard let newline = rest.firstIndex(of: UInt8(ascii: "\n")) else { return nil }
      rest = rest[rest.index(after: newline)...]
    }
    return nil
  }

  private static func number(_ text: Substring.UTF8View) -> Int64? {
    let digits = text.drop { $0 == UInt8(ascii: " ") }.prefix { $0 >= 48 && $0 <= 57 }
    return Int64(Substring(digits))
  }
}

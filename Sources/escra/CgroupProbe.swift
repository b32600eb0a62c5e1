// SPDX-License-Identifier: Apache-2.0
internal import Cgroups
internal import Glibc
internal import Quantities
internal import State
internal import Syscalls

/// The kernel's files of one container's cgroup, open for reading.
///
/// A file that is not there is no error: a container may start or end while it is looked at.
final class CgroupProbe {
  private let cpu: CgroupWriter
  private let meter: UsageMeter
  private let statistics: FileDescriptor
  private let innerStatistics: FileDescriptor
  private let directory: FileDescriptor
  private let memoryLimitFile: FileDescriptor
  private let memoryLineFile: FileDescriptor
  private let innerMemoryFile: FileDescriptor
  private let memoryUseFile: FileDescriptor
  private let memoryEvents: FileDescriptor

  /// Opens the files of a container; nil while its cgroup is not known, or when another one has
  /// its name by now.
  convenience init?(_ state: ContainerState) {
    guard let path = state.cpuDirectory, let version = state.version else { return nil }
    self.init(
      cpu: path, usage: state.usageDirectory, memory: state.memoryDirectory, version: version,
      inode: state.cpuInode, inner: state.innerDirectory,
      innerMemory: state.innerMemoryDirectory)
  }

  /// Opens the files of a cgroup.
  convenience init?(_ location: CgroupLocation) {
    self.init(
      cpu: location.cpu, usage: location.cpuacct, memory: location.memory,
      version: location.version, inode: nil)
  }

  private init?(
    cpu path: String, usage: String?, memory: String?, version: CgroupVersion,
    inode: UInt64?, inner: String? = nil, innerMemory: String? = nil
  ) {
    do throws(SystemError) {
      let directory = try FileDescriptor.open(path, O_RDONLY | O_DIRECTORY)
      if let inode, try directory.status().identity.inode != inode { return nil }
      cpu = try CgroupWriter(directory: directory, version: version, readOnly: true, around: inner)
      statistics = try directory.open(.cpuStatistics, version, O_RDONLY)
      meter = try UsageMeter(cpu: path, cpuacct: usage ?? path, version)
      self.directory = directory
    } catch { return nil }
    memoryLimitFile = Self.open(.memoryLimit, of: memory, version)
    memoryLineFile = Self.open(.memoryHigh, of: inner == nil ? nil : memory, version)
    innerStatistics = Self.open(.cpuStatistics, of: inner, version)
    innerMemoryFile = Self.open(.memoryLimit, of: innerMemory, version)
    memoryUseFile = Self.open(.memoryUsage, of: memory, version)
    memoryEvents = Self.open(.memoryKills, of: memory, version)
  }

  /// A file of a group; none if it is not there, and then its figure is left out.
  private static func open(
    _ file: CgroupFile, of directory: String?, _ version: CgroupVersion
  ) -> FileDescriptor {
    directory.flatMap { FileDescriptor.openIfPossible(file, of: $0, version, O_RDONLY) } ?? .none
  }

  /// The CPU limit in cores.
  var cpuLimit: Limit<Double> {
    guard let limit = try? cpu.current() else { return .unknown }
    return limit.cores.map { .at($0) } ?? .unlimited
  }

  /// CPU time used so far, in nanoseconds.
  var usage: Nanoseconds? { try? meter.read() }

  /// Time in which tasks had work and no quota, in nanoseconds, summed over CPUs: by the limit that
  /// moves, and by that of the container's own group inside of it.
  var throttled: Nanoseconds? {
    guard let text = try? statistics.contents(subject: "the CPU statistics") else { return nil }
    let inner = innerStatistics.isOpen ? innerStatistics.contentsIfReadable() : nil
    return UsageMeter.throttledTime(in: text).map { time in
      time + (inner.flatMap { UsageMeter.throttledTime(in: $0) } ?? 0)
    }
  }

  /// Whether a process is left in the group.
  var hasMembers: Bool { directory.hasCgroupMembers }

  /// The memory limit in bytes.
  var memoryLimit: Limit<Int64> {
    let moving = Self.memoryLimit(memoryLimitFile)
    guard moving == .unlimited, innerMemoryFile.isOpen else { return moving }
    // If programs can read the groups above, memory.high is what moves.
    if case .at(let line) = Self.memoryLimit(memoryLineFile) { return .at(line) }
    return innerMemory
  }

  /// The memory limit of the inner group, if the container has two.
  var innerMemory: Limit<Int64> { Self.memoryLimit(innerMemoryFile) }

  /// The CPU limit of that group in cores.
  var innerCPU: Limit<Double> {
    guard let limit = (try? cpu.inner()) ?? nil else { return .unknown }
    return limit.cores.map { .at($0) } ?? .unlimited
  }

  private static func memoryLimit(_ file: borrowing FileDescriptor) -> Limit<Int64> {
    guard file.isOpen, let text = file.contentsIfReadable() else {
      return .unknown
    }
    return memoryLimit(text)
  }

  /// Memory charged to the group, in bytes.
  var memoryUse: Int64? {
    guard memoryUseFile.isOpen, let text = try? memoryUseFile.contents(subject: "the memory use")
    else { return nil }
    return Int64(text.prefix { $0 != "\n" })
  }

  /// Processes of the group that the kernel has killed because memory ran out.
  var outOfMemoryKills: Int64? {
    guard memoryEvents.isOpen, let text = try? memoryEvents.contents(subject: "the OOM kills")
    else { return nil }
    return Self.value(of: "oom_kill", in: text)
  }

  /// Finds a value in the text of a file with a name and a number in each line.
  static func value(of name: String, in text: String) -> Int64? {
    for line in text.split(separator: "\n") {
      let fields = line.split(separator: " ")
      if fields.count == 2, fields[0] == name { return Int64(fields[1]) }
    }
    return nil
  }

  /// Reads memory.limit_in_bytes or memory.max.
  ///
  /// v1 has no word for no limit: it says the greatest number of whole pages that a long can
  /// count (mm/memcontrol.c PAGE_COUNTER_MAX).
  static func memoryLimit(_ text: String) -> Limit<Int64> {
    let word = text.prefix { $0 != "\n" }
    if word == "max" { return .unlimited }
    guard let value = Int64(word) else { return .unknown }
    return value >= Int64.max - 65536 ? .unlimited : .at(value)
  }
}

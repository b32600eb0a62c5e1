// SPDX-License-Identifier: Apache-2.0
internal import Glibc
public import Syscalls

/// The one type that writes limits to the kernel.
///
/// It works on files that were opened while there was the privilege to, so that a supervisor can
/// give that privilege up; opened for reading only, it cannot write at all, which is what
/// `observe` is.
public struct CgroupWriter: ~Copyable {
  /// Which interface is written.
  public let version: CgroupLocation.Version
  /// cpu.cfs_quota_us or cpu.max: the file whose writes are watched.
  public let quotaFile: FileDescriptor
  private let periodFile: FileDescriptor
  private let burstFile: FileDescriptor
  /// cpu.max of the group around the container's own, where there is one with the same limit.
  public let outerFile: FileDescriptor
  /// The burst that a lower quota has taken away for now, and what was left of it, in microseconds.
  private var lowered: (from: Int64, to: Int64)?
  /// Whether this writer may change anything.
  public let isReadOnly: Bool

  /// Opens the files of one cgroup.
  ///
  /// - Parameters:
  ///   - directory: The cgroup's directory in the cpu hierarchy.
  ///   - version: Which interface it has.
  ///   - readOnly: Whether to open for reading only.
  ///   - scope: The directory of the group around it that has the same limit, if there is one.
  /// - Throws: ``SystemError``; ENOENT when the cgroup is gone or has no cpu controller.
  public init(
    directory: borrowing FileDescriptor, version: CgroupLocation.Version, readOnly: Bool,
    in scope: String? = nil
  ) throws(SystemError) {
    let flags = readOnly ? O_RDONLY : O_RDWR
    self.version = version
    isReadOnly = readOnly
    let isV1 = version == .v1
    let quotaFile = try directory.open(isV1 ? "cpu.cfs_quota_us" : "cpu.max", flags)
    let periodFile = isV1 ? try directory.open("cpu.cfs_period_us", flags) : FileDescriptor.none
    outerFile =
      if let scope { try FileDescriptor.open(scope + "/cpu.max", flags) } else { .none }
    self.periodFile = periodFile
    self.quotaFile = quotaFile
    // Linux before 5.14 has no burst.
    burstFile =
      (try? directory.open(isV1 ? "cpu.cfs_burst_us" : "cpu.max.burst", flags)) ?? .none
  }

  /// Takes over files that are open already; only the quota must be there.
  init(
    version: CgroupLocation.Version, readOnly: Bool, quota: consuming FileDescriptor,
    period: consuming FileDescriptor, burst: consuming FileDescriptor,
    outer: consuming FileDescriptor
  ) {
    self.version = version
    isReadOnly = readOnly
    quotaFile = quota
    periodFile = period
    burstFile = burst
    outerFile = outer
  }

  /// The numbers of the files, for an image that takes them over.
  consuming func release() -> (quota: Int32, period: Int32, burst: Int32, outer: Int32) {
    (quotaFile.release(), periodFile.release(), burstFile.release(), outerFile.release())
  }

  /// The limit that the kernel has now.
  ///
  /// - Returns: The limit; it may have changed by the time it is looked at.
  /// - Throws: ``SystemError``; ENODEV once the cgroup is gone.
  public func current() throws(SystemError) -> CPUQuota {
    let quota = try quotaFile.contents(subject: "the CPU quota")
    let parsed: CPUQuota?
    switch version {
    case .v1:
      let period = try periodFile.contents(subject: "the CPU period")
      parsed = CPUQuota(cfsQuota: quota, cfsPeriod: period)
    case .v2: parsed = CPUQuota(cpuMax: quota)
    }
    guard let parsed else { throw SystemError("read", "the CPU quota", errno: EINVAL) }
    return parsed
  }

  /// The limit that the kernel has now; of two copies that differ, the one that is not ours.
  ///
  /// - Parameter ours: What was written last.
  /// - Returns: As ``current()``.
  /// - Throws: As ``current()``.
  public func current(besides ours: CPUQuota) throws(SystemError) -> CPUQuota {
    let inner = try current()
    guard outerFile.isOpen, inner == ours else { return inner }
    return CPUQuota(cpuMax: try outerFile.contents(subject: "the scope's CPU quota")) ?? inner
  }

  /// Gives the group around the container's the limit that the container's own has.
  ///
  /// Who makes both rounds one of them: systemd knows percent.
  ///
  /// - Throws: ``SystemError``; ENODEV once the cgroup is gone.
  public func align() throws(SystemError) {
    guard outerFile.isOpen, !isReadOnly else { return }
    let limit = try current()
    guard try current(besides: limit) != limit else { return }
    try outerFile.overwrite(limit.cpuMax, subject: "the scope's CPU quota")
  }

  /// Sets the limit.
  ///
  /// The kernel refuses a quota below the burst, so a burst that is in the way is lowered first. It
  /// is not forgotten: Linux before 6.10 divides it by a thousand at each write of cpu.max
  /// (kernel/sched/core.c, cpu_max_write), and what was lowered comes back with the quota.
  ///
  /// - Parameters:
  ///   - limit: The new limit.
  ///   - old: What the kernel has, as far as is known.
  /// - Throws: ``SystemError``: EINVAL above what an ancestor has (v1 refuses that), ENODEV once
  ///   the cgroup is gone, EBADF for a reader.
  public mutating func set(_ limit: CPUQuota, from old: CPUQuota) throws(SystemError) {
    if isReadOnly { throw SystemError("write", "the CPU quota", errno: EBADF) }
    let found = (try? burst()) ?? nil
    if found != lowered?.to { lowered = nil }
    let wanted = lowered?.from ?? found ?? 0
    let burst = min(wanted, limit.quota ?? .max)
    if let found, burst < found {
      try burstFile.overwrite("\(burst)", subject: "the CPU burst")
    }
    try write(limit, from: old)
    lowered = burst < wanted ? (wanted, burst) : nil
    // Better a container without its burst than one without its limit.
    if burst > 0, (try? self.burst()) != burst {
      try? burstFile.overwrite("\(burst)", subject: "the CPU burst")
    }
  }

  private func write(_ limit: CPUQuota, from old: CPUQuota) throws(SystemError) {
    if outerFile.isOpen {
      try outerFile.overwrite(limit.cpuMax, subject: "the scope's CPU quota")
    }
    for write in limit.writes(from: old, version: version) {
      if write.file == "cpu.cfs_period_us" {
        try periodFile.overwrite(write.value, subject: write.file)
      } else {
        try quotaFile.overwrite(write.value, subject: write.file)
      }
    }
  }

  /// Sets the CPUs of a group.
  ///
  /// - Parameters:
  ///   - cpus: The CPUs.
  ///   - directory: The group's directory in the cpuset hierarchy.
  /// - Throws: ``SystemError``: EACCES for CPUs that its parent does not have, EBUSY when a group
  ///   below has others, ENOSPC for none while tasks are there (kernel/cgroup/cpuset.c,
  ///   validate_change), ENOENT or ENODEV once the group is gone.
  static func setCPUs(_ cpus: CPUSet, of directory: String) throws(SystemError) {
    try write(cpus, to: directory + "/cpuset.cpus")
  }

  /// Sets the CPUs that a partition may take out of a group of cgroup v2.
  ///
  /// - Throws: ``SystemError``: EINVAL for a CPU that a group beside it has as exclusive, or when it
  ///   covers all that one beside it may use.
  static func setExclusiveCPUs(_ cpus: CPUSet, of directory: String) throws(SystemError) {
    try write(cpus, to: directory + "/cpuset.cpus.exclusive")
  }

  /// Makes a group of cgroup v2 a partition, or a member of the one it is in.
  ///
  /// - Returns: What it is now: the kernel takes the write also where it cannot be.
  /// - Throws: ``SystemError``.
  static func setPartition(
    isRoot: Bool, of directory: String
  ) throws(SystemError) -> UnifiedGroup.Partition {
    let path = directory + "/cpuset.cpus.partition"
    let file = try FileDescriptor.open(path, O_RDWR)
    try file.overwrite(isRoot ? "root" : "member", subject: path)
    return UnifiedGroup.Partition(try file.contents(subject: path))
  }

  private static func write(_ cpus: CPUSet, to path: String) throws(SystemError) {
    let file = try FileDescriptor.open(path, O_WRONLY)
    // A write of no bytes is none; a line without any clears the set.
    try file.overwrite(cpus.isEmpty ? "\n" : cpus.description, subject: path)
  }

  private func burst() throws(SystemError) -> Int64? {
    guard burstFile.isOpen else { return nil }
    return Int64(try burstFile.contents(subject: "the CPU burst").prefix { $0 != "\n" })
  }
}

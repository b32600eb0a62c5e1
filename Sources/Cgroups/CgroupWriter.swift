// SPDX-License-Identifier: Apache-2.0
internal import CPUSets
internal import Glibc
package import Quantities
package import Syscalls

/// The one type that writes limits to the kernel.
///
/// It works on files that were opened while there was the privilege to, so that a supervisor can
/// give that privilege up; opened for reading only, it cannot write at all, which is what
/// `observe` is.
package struct CgroupWriter: ~Copyable {
  /// Which interface is written.
  package let version: CgroupVersion
  /// cpu.cfs_quota_us or cpu.max: the file whose writes are watched.
  package let quotaFile: FileDescriptor
  private let periodFile: FileDescriptor
  private var burst: CPUBurst
  /// cpu.max of the group that has the declared limit, if the one whose limit moves is another: the
  /// container's own group, or the scope around that.
  package let innerFile: FileDescriptor
  /// The same of the group that crun makes below a scope: processes are in that one.
  private let innerCopy: FileDescriptor
  /// Whether the group whose limit moves is inside the group with the declared limit.
  private let isInside: Bool
  /// The limit of a member's application, in nanocores.
  ///
  /// A member that has less always has a limit in the outer group: its own group may have less at the
  /// moment that it is read, and more in the next.
  package var application: Int64?
  /// Whether this writer may change anything.
  package let isReadOnly: Bool

  /// Opens the files of one cgroup.
  ///
  /// - Parameters:
  ///   - directory: The cgroup's directory in the cpu hierarchy.
  ///   - version: Which interface it has.
  ///   - readOnly: Whether to open for reading only.
  ///   - scope: The directory of the scope around it, which has the declared limit, if there is one.
  ///   - inner: The directory of the container's own group, if this one is around it.
  /// - Throws: ``SystemError``; ENOENT when the cgroup is gone or has no cpu controller.
  package init(
    directory: borrowing FileDescriptor, version: CgroupVersion, readOnly: Bool,
    in scope: String? = nil, around inner: String? = nil
  ) throws(SystemError) {
    let flags = readOnly ? O_RDONLY : O_RDWR
    self.version = version
    isReadOnly = readOnly
    let isV1 = version == .v1
    let quotaFile = try directory.open(isV1 ? "cpu.cfs_quota_us" : "cpu.max", flags)
    let periodFile = isV1 ? try directory.open("cpu.cfs_period_us", flags) : FileDescriptor.none
    let innerFile =
      if let path = inner ?? scope { try FileDescriptor.open(path + "/cpu.max", flags) } else {
        FileDescriptor.none
      }
    self.innerFile = innerFile
    isInside = inner == nil && scope != nil
    innerCopy = Self.file("cpu.max", in: CgroupLocation.below(inner), flags)
    self.periodFile = periodFile
    self.quotaFile = quotaFile
    // Linux before 5.14 has no burst.
    burst = CPUBurst(
      owning: (try? directory.open(isV1 ? "cpu.cfs_burst_us" : "cpu.max.burst", flags)) ?? .none,
      following: Self.file("cpu.max.burst", in: inner, O_RDONLY))
  }

  private static func file(_ name: String, in directory: String?, _ flags: CInt) -> FileDescriptor {
    guard let directory else { return .none }
    return FileDescriptor.openIfPossible(directory + "/" + name, flags) ?? .none
  }

  /// Takes over files that are open already; only the quota must be there.
  ///
  /// `other` is the file of a second group that has the declared limit: where `inner` is none, that of
  /// the scope around the group; else that of the group that crun makes below a scope.
  package init(
    version: CgroupVersion, readOnly: Bool, quota: consuming FileDescriptor,
    period: consuming FileDescriptor, burst: consuming FileDescriptor,
    other: consuming FileDescriptor = .none, inner: consuming FileDescriptor = .none,
    innerBurst: consuming FileDescriptor = .none
  ) {
    self.version = version
    isReadOnly = readOnly
    quotaFile = quota
    periodFile = period
    self.burst = CPUBurst(owning: burst, following: innerBurst)
    isInside = other.isOpen && !inner.isOpen
    if inner.isOpen {
      innerFile = inner
      innerCopy = other
    } else {
      innerFile = other
      innerCopy = .none
    }
  }

  /// The numbers of the files, for an image that takes them over.
  package consuming func release() -> Files {
    let (burst, innerBurst) = burst.release()
    let (inner, copy) = (innerFile.release(), innerCopy.release())
    return Files(
      quota: quotaFile.release(), period: periodFile.release(), burst: burst,
      other: isInside ? inner : copy, inner: isInside ? -1 : inner, innerBurst: innerBurst)
  }

  /// The numbers of open files; -1 for one that is not there.
  package struct Files {
    /// One number for each file.
    package let quota, period, burst, other, inner, innerBurst: Int32
  }

  /// The declared limit, if another group than the one that is written has it: the container's own,
  /// or the scope around that; nil if there is none.
  ///
  /// If crun has made a group below the container's own, the lesser limit of the two: that one holds.
  ///
  /// - Throws: ``SystemError``; ENODEV once the cgroup is gone.
  package func inner() throws(SystemError) -> CFSBandwidth? {
    guard innerFile.isOpen else { return nil }
    let limit = CFSBandwidth(
      cpuMax: try innerFile.contents(subject: "the container's own CPU limit"))
    guard innerCopy.isOpen, let limit,
      let copy = CFSBandwidth(
        cpuMax: try innerCopy.contents(subject: "the container's own CPU limit"))
    else { return limit }
    return copy.nanocores ?? .max < limit.nanocores ?? .max ? copy : limit
  }

  /// Has a watch report each write of the declared limit.
  package func watchInner(by watch: borrowing WriteWatch) {
    watch.add(writesTo: innerFile)
    watch.add(writesTo: innerCopy)
  }

  /// Raises the limit of that group, which bounds the one that moves.
  ///
  /// Nothing else is written there. Where that limit was the one in force, it stays so: the outer group
  /// gets it first.
  ///
  /// - Throws: ``SystemError``; ENODEV once the cgroup is gone, EBADF where there is none, or for a
  ///   reader.
  package func raiseInner(to limit: CFSBandwidth) throws(SystemError) {
    if isReadOnly { throw SystemError("write", "the container's own CPU limit", errno: EBADF) }
    let outer = CFSBandwidth(cpuMax: try quotaFile.contents(subject: "the CPU quota"))
    if outer?.quota == nil, let held = try inner()?.cpuMax {
      try quotaFile.overwrite(held, subject: "the CPU quota")
    }
    try innerFile.overwrite(limit.cpuMax, subject: "the container's own CPU limit")
    if innerCopy.isOpen {
      try innerCopy.overwrite(limit.cpuMax, subject: "the container's own CPU limit")
    }
  }

  /// The limit that the kernel has now; that of the container's own group, where the one around it has
  /// none.
  ///
  /// - Returns: The limit; it may have changed by the time it is looked at.
  /// - Throws: ``SystemError``; ENODEV once the cgroup is gone.
  package func current() throws(SystemError) -> CFSBandwidth {
    var parsed: CFSBandwidth?
    switch version {
    case .v1:
      if let quota = try quotaFile.integer(subject: "the CPU quota"),
        let period = try periodFile.integer(subject: "the CPU period")
      {
        parsed = CFSBandwidth(cfsQuota: quota, cfsPeriod: period)
      }
    case .v2: parsed = CFSBandwidth(cpuMax: try quotaFile.contents(subject: "the CPU quota"))
    }
    guard let parsed else { throw SystemError("read", "the CPU quota", errno: EINVAL) }
    if parsed.quota == nil, let inner = try inner(), inner.quota != nil { return inner }
    return parsed
  }

  /// Sets the limit, and keeps the burst as far as the limit lets it.
  ///
  /// - Parameters:
  ///   - limit: The new limit.
  ///   - old: What the kernel has, as far as is known.
  /// - Throws: ``SystemError``: EINVAL above what an ancestor has (v1 refuses that), ENODEV once
  ///   the cgroup is gone, EBADF for a reader.
  package mutating func set(_ limit: CFSBandwidth, from old: CFSBandwidth) throws(SystemError) {
    if isReadOnly { throw SystemError("write", "the CPU quota", errno: EBADF) }
    let limit = try besideInner(limit)
    try burst.makeRoom(for: limit.quota)
    try write(limit, from: old)
    burst.bringBack()
  }

  /// What is written: no limit around a group that has the same, or less.
  ///
  /// Two quotas whose periods begin at different moments would throttle twice.
  private func besideInner(_ limit: CFSBandwidth) throws(SystemError) -> CFSBandwidth {
    guard !isInside, let most = try inner()?.nanocores,
      limit.nanocores ?? .max >= max(most, application ?? 0)
    else { return limit }
    return CFSBandwidth(quota: nil, period: limit.period)
  }

  private func write(_ limit: CFSBandwidth, from old: CFSBandwidth) throws(SystemError) {
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
  package static func setCPUs(_ cpus: CPUSet, of directory: String) throws(SystemError) {
    try write(cpus, to: directory + "/cpuset.cpus")
  }

  /// Sets the CPUs that a partition may take out of a group of cgroup v2.
  ///
  /// - Throws: ``SystemError``: EINVAL for a CPU that a group beside it has as exclusive, or when it
  ///   covers all that one beside it may use.
  package static func setExclusiveCPUs(_ cpus: CPUSet, of directory: String) throws(SystemError) {
    try write(cpus, to: directory + "/cpuset.cpus.exclusive")
  }

  /// Makes a group of cgroup v2 a partition, or a member of the one it is in.
  ///
  /// - Returns: What it is now: the kernel takes the write also where it cannot be.
  /// - Throws: ``SystemError``.
  package static func setPartition(
    isRoot: Bool, of directory: String
  ) throws(SystemError) -> CpusetPartition {
    let path = directory + "/cpuset.cpus.partition"
    let file = try FileDescriptor.open(path, O_RDWR)
    try file.overwrite(isRoot ? "root" : "member", subject: path)
    return CpusetPartition(try file.contents(subject: path))
  }

  private static func write(_ cpus: CPUSet, to path: String) throws(SystemError) {
    let file = try FileDescriptor.open(path, O_WRONLY)
    // A write of no bytes is none; a line without any clears the set.
    try file.overwrite(cpus.isEmpty ? "\n" : cpus.description, subject: path)
  }
}

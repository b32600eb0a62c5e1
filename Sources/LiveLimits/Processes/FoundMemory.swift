// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Glibc
internal import Hooks
internal import Syscalls

/// The memory files of a container that was found, open, and the kernel's calls registered.
enum FoundMemory {
  /// Opens all of it; of cgroup v1 so far.
  ///
  /// - Parameters:
  ///   - location: Where the container is.
  ///   - base: What it may have.
  ///   - isObserver: Whether nothing is to be written.
  /// - Returns: The descriptors by place; empty where its memory cannot be moved.
  /// - Throws: ``SystemError``; ENOENT when the group is gone.
  static func open(
    _ location: CgroupLocation, _ base: MemoryBase, isObserver: Bool
  ) throws(SystemError) -> [Handover.Place: Int32] {
    guard location.version == .v1, let directory = location.memory else { return [:] }
    let usage = try FileDescriptor.open(directory + "/memory.usage_in_bytes", O_RDONLY)
    let statistics = try FileDescriptor.open(directory + "/memory.stat", O_RDONLY)
    let kills = try FileDescriptor.open(directory + "/memory.oom_control", O_RDONLY)
    let writer = try MemoryWriter(directory: directory, readOnly: isObserver)
    let calls = try MemoryCalls(
      of: directory, usage: usage, thresholds: thresholds(base, above: use(usage)))
    var open: [Handover.Place: Int32] = [:]
    (open[.memoryLimit], open[.memorySwap]) = writer.release()
    (open[.memoryCalls], open[.outOfMemory]) = calls.release()
    open[.memoryUsage] = usage.release()
    open[.memoryStatistics] = statistics.release()
    open[.memoryKills] = kills.release()
    open[.machineMemory] = (try? FileDescriptor.open("/proc/meminfo", O_RDONLY))?.release()
    return open
  }

  /// Gives a container that nobody supervises any more what it declared; one that uses more than
  /// that keeps what it has, since the kernel refuses less.
  static func giveBack(_ base: MemoryBase, _ directory: String) {
    guard let writer = try? MemoryWriter(directory: directory, readOnly: false) else { return }
    let limit = base.declared ?? MemoryBase.unlimited
    try? writer.set(limit, swap: base.declared == nil ? nil : base.memorySwap(at: limit))
  }

  /// What a container may have, as far as the groups above its own have it: the least of them is
  /// where the kernel would end it, whatever its own limit.
  static func bounded(_ base: MemoryBase, by location: CgroupLocation) -> MemoryBase {
    guard location.version == .v1, let directory = location.memory,
      let slash = directory.utf8.lastIndex(of: UInt8(ascii: "/")),
      let text = try? FileDescriptor.text(of: String(directory[..<slash]) + "/memory.stat"),
      let above = MemoryMeter.hierarchicalLimit(inStatistics: text)
    else { return base }
    var bounded = base
    bounded.limit = min(base.limit, above)
    return bounded
  }

  private static func use(_ file: borrowing FileDescriptor) -> Int64 {
    let text = (try? file.contents(subject: "the memory usage")) ?? ""
    return Int64(text.prefix { $0 != "\n" }) ?? 0
  }

  /// The rungs, those first that a growing container comes by first.
  static func thresholds(_ base: MemoryBase, above use: Int64) -> [Int64] {
    let rungs = MemoryLadder(to: base.limit).rungs
    return rungs.filter { $0 > use } + rungs.filter { $0 <= use }.reversed()
  }
}

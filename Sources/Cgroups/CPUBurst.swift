// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import Syscalls

/// A group's burst: what it may use of what it saved in earlier periods
/// (Documentation/scheduler/sched-bwc.rst).
///
/// The kernel refuses a quota below the burst, so a burst that is in the way is lowered before, and
/// comes back with the quota. Linux before 6.10 divides it by a thousand at each write of cpu.max
/// (kernel/sched/core.c, cpu_max_write), so it is looked at again behind one.
struct CPUBurst: ~Copyable {
  /// cpu.max.burst or cpu.cfs_burst_us; ``FileDescriptor/none`` before Linux 5.14.
  let file: FileDescriptor
  /// The burst of the container's own group, which this one follows; ``FileDescriptor/none`` where
  /// this is that group.
  private let innerFile: FileDescriptor
  /// What a lower quota has taken away for now, and what was left, in microseconds.
  private var lowered: (from: Int64, to: Int64)?
  /// What has to be there behind the next write of the quota.
  private var target: Int64 = 0

  /// Takes over a file that is open already.
  init(
    owning file: consuming FileDescriptor, following inner: consuming FileDescriptor = .none
  ) {
    self.file = file
    innerFile = inner
  }

  /// Gives the files away.
  consuming func release() -> (file: Int32, inner: Int32) {
    (file.release(), innerFile.release())
  }

  /// Makes way for a quota that is about to be written; nil is none.
  mutating func makeRoom(for quota: Int64?) throws(SystemError) {
    guard let found = current() else { return }
    // Another process has written meanwhile.
    if found != lowered?.to { lowered = nil }
    let inner = innerFile.isOpen ? try? innerFile.integer(subject: "the CPU burst") : nil
    let wanted = inner ?? lowered?.from ?? found
    target = min(wanted, quota ?? .max)
    lowered = target < wanted ? (wanted, target) : nil
    if target < found { try file.overwrite("\(target)", subject: "the CPU burst") }
  }

  /// Brings back what the quota that was just written has room for.
  func bringBack() {
    // Better a container without its burst than one without its limit.
    guard target > 0, current() != target else { return }
    try? file.overwrite("\(target)", subject: "the CPU burst")
  }

  private func current() -> Int64? {
    // A burst that cannot be read is left alone.
    file.isOpen ? try? file.integer(subject: "the CPU burst") : nil
  }
}

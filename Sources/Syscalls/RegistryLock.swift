// SPDX-License-Identifier: Apache-2.0
internal import Glibc
package import Quantities

/// The holder of a flock(2), by /proc/locks (proc_locks(5)).
package enum RegistryLock {
  /// The process that took the lock on an open file; nil where no process has it, or that is not
  /// known.
  package static func holder(of file: borrowing FileDescriptor) -> Int32? {
    guard let identity = try? file.status().identity,
      let locks = FileDescriptor.textIfReadable(of: "/proc/locks")
    else { return nil }
    return holder(of: identity, inLocks: locks)
  }

  /// Finds it in the text: "1: FLOCK  ADVISORY  WRITE 1234 00:1f:5678 0 EOF", the device in
  /// hexadecimal; who waits has an arrow before the kind.
  static func holder(of identity: FileStatus.Identity, inLocks text: String) -> Int32? {
    let device = identity.device
    let major = device >> 8 & 0xfff | device >> 32 & ~0xfff
    let minor = device & 0xff | device >> 12 & ~0xff
    for line in text.split(at: "\n") {
      let words = line.split(at: " ")
      guard words.count > 5, words[1] == "FLOCK" else { continue }
      let file = words[5].split(at: ":")
      guard file.count == 3, UInt64(file[0], radix: 16) == major,
        UInt64(file[1], radix: 16) == minor, UInt64(file[2]) == identity.inode
      else { continue }
      return Int32(words[4])
    }
    return nil
  }

  /// Ends a process of ours that has kept a lock for too long.
  ///
  /// Silence is death, and another goes on.
  ///
  /// - Returns: Whether it was ours.
  package static func evict(_ pid: Int32) -> Bool {
    // First the handle, then the question: what the handle holds cannot be reused in between.
    guard let process = try? ProcessHandle(pid: pid),
      let name = FileDescriptor.textIfReadable(of: "/proc/\(pid)/comm"),
      name.utf8.starts(with: "escra-".utf8),
      FileStatus.ifThere("/proc/\(pid)")?.user == geteuid()
    else { return false }
    // It has ended by itself.
    return (try? process.send(SIGKILL)) != nil
  }
}

/// How long a lock is waited for, by what its holder is seen to do.
package struct LockPatience {
  /// How long a process may have the lock and do nothing.
  ///
  /// One look says little: the holder may sleep for a moment, or have given it away just then.
  static let idle: Nanoseconds = 1_000_000_000

  /// How long a process may that works: each partition that is made or undone has the kernel
  /// build its scheduling domains anew, and wait for an RCU grace period.
  static let atWork: Nanoseconds = 10_000_000_000

  private let start: Nanoseconds
  private var seenAtWork: Nanoseconds
  private var holder: Int32?

  /// Starts to wait.
  package init(from start: Nanoseconds) { (self.start, seenAtWork) = (start, start) }

  /// Takes note of one look.
  ///
  /// - Parameters:
  ///   - now: When it was.
  ///   - holder: The holder of the lock; nil where that is not known.
  ///   - isAtWork: Whether that process is.
  /// - Returns: Whether that was long enough.
  package mutating func isOver(at now: Nanoseconds, holder: Int32?, isAtWork: Bool) -> Bool {
    let isNews = isAtWork || holder != self.holder
    if isNews, now - start < Self.atWork { seenAtWork = now }
    self.holder = holder
    return now - seenAtWork > Self.idle
  }
}

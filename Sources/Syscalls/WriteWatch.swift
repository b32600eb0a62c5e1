// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Glibc

/// Reports each write to a file, or two, and the writer where the kernel names it.
///
/// fanotify(7) names the writer, and takes CAP_SYS_ADMIN when it is opened; inotify(7) is what is
/// left without. Of both the event of a write is queued before write(2) returns, so what is read
/// right after a write of our own includes that write.
package struct WriteWatch: ~Copyable {
  /// Readable when a process has written.
  package let descriptor: FileDescriptor
  /// Whether it is told who.
  package let namesWriters: Bool
  private let ownProcess: Int32

  /// Reports writes to an open file; none where a user's share of both is used up
  /// (fs.fanotify.max_user_groups, fs.inotify.max_user_instances: 128 each).
  package init(on file: borrowing FileDescriptor) throws(SystemError) {
    try self.init(on: file, and: .none)
  }

  /// Reports writes to two open files, the second of which may be none; see ``init(on:)``.
  package init(
    on file: borrowing FileDescriptor, and other: borrowing FileDescriptor
  ) throws(SystemError) {
    let naming = FileDescriptor(owning: escra_fanotify_writes(file.number, other.number))
    if naming.isOpen {
      self.init(adopting: naming, namesWriters: true)
      return
    }
    let watch = FileWatch.ifAvailable()
    try watch.addWrites(to: file)
    if other.isOpen { try watch.addWrites(to: other) }
    self.init(adopting: FileDescriptor(owning: watch.release()), namesWriters: false)
  }

  /// Reports writes to one more open file, too; of no file if it reports nothing.
  package func add(writesTo file: borrowing FileDescriptor) {
    guard hears, file.isOpen else { return }
    if namesWriters {
      _ = escra_fanotify_add(descriptor.number, file.number)
    } else {
      _ = inotify_add_watch(
        descriptor.number, "/proc/self/fd/\(file.number)", UInt32(IN_MODIFY))
    }
  }

  /// Takes over what another image of this process has opened.
  package init(adopting descriptor: consuming FileDescriptor, namesWriters: Bool) {
    self.descriptor = descriptor
    self.namesWriters = namesWriters
    ownProcess = getpid()
  }

  /// Gives the descriptor away: for another image.
  package consuming func release() -> Int32 { descriptor.release() }

  /// Whether it hears anything.
  package var hears: Bool { descriptor.isOpen }

  /// Has a poller say when a process has written; never if it reports nothing.
  package func add(to poller: borrowing Poller, token: UInt64) throws(SystemError) {
    if hears { try poller.add(descriptor.number, token: token) }
  }

  /// Takes what has happened since the last call.
  ///
  /// - Parameter body: Called for each writer but this process, with 0 for one in another pid
  ///   namespace; never where writers are not named.
  /// - Returns: Whether anything has happened, where no writer is told also by ourselves.
  @discardableResult
  package func take(_ body: (Int32) -> Void) -> Bool {
    guard hears else { return false }
    guard namesWriters else { return drain() }
    var isAny = false
    withUnsafeTemporaryAllocation(of: pid_t.self, capacity: Int(ESCRA_EVENTS)) { writers in
      while true {
        let count = escra_fanotify_take(descriptor.number, writers.baseAddress)
        guard count > 0 else { return }
        for writer in writers.prefix(Int(count)) where writer != ownProcess {
          isAny = true
          body(writer)
        }
        // Less than there was room for is all there was.
        if count < ESCRA_EVENTS { return }
      }
    }
    return isAny
  }

  private func drain() -> Bool {
    withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 8) { buffer in
      var happened = false
      while Glibc.read(descriptor.number, buffer.baseAddress, buffer.count) > 0 { happened = true }
      return happened
    }
  }
}

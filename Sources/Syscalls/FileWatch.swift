// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Glibc

/// Reports writes to files and names that appear in directories: inotify(7).
///
/// The kernel queues the event of a write before write(2) returns, so what is read right after a
/// write of our own includes that write.
package struct FileWatch: ~Copyable {
  /// Readable when something happened.
  package let descriptor: FileDescriptor

  /// Makes a watch on nothing.
  package init() throws(SystemError) {
    descriptor = FileDescriptor(
      owning: try retrying("make", "an inotify") {
        inotify_init1(CInt(IN_CLOEXEC | IN_NONBLOCK))
      })
  }

  /// A watch, or one that hears nothing where there is no inotify to be had: a user has 128 of them
  /// unless the operator says otherwise (fs.inotify.max_user_instances, inotify(7)).
  package static func ifAvailable() -> FileWatch {
    do throws(SystemError) { return try FileWatch() } catch {
      return FileWatch(adopting: .none)
    }
  }

  /// Whether it hears anything.
  package var hears: Bool { descriptor.isOpen }

  /// Has a poller say when something happened; for one that hears nothing it never will.
  package func add(to poller: borrowing Poller, token: UInt64) throws(SystemError) {
    if hears { try poller.add(descriptor.number, token: token) }
  }

  /// Gives the inotify away: for another image.
  package consuming func release() -> Int32 { descriptor.release() }

  /// Takes over an inotify that another image of this process has set up.
  package init(adopting descriptor: consuming FileDescriptor) { self.descriptor = descriptor }

  /// Reports each write to an open file: how a cgroup's limit is guarded.
  package func addWrites(to file: borrowing FileDescriptor) throws(SystemError) {
    try add("/proc/self/fd/\(file.number)", UInt32(IN_MODIFY))
  }

  /// Reports names that are created in, moved to or closed after writing in a directory.
  package func addArrivals(in directory: borrowing FileDescriptor) throws(SystemError) {
    try add(
      "/proc/self/fd/\(directory.number)",
      UInt32(IN_CREATE) | UInt32(IN_MOVED_TO) | UInt32(IN_CLOSE_WRITE))
  }

  /// Reports what happens in a cgroup's directory: a write to any of its files, and
  /// groups that are made in it, renamed into it or removed.
  ///
  /// - Parameter path: The directory; watching it again changes nothing.
  /// - Throws: ``SystemError``: ENOSPC for one watch too many (fs.inotify.max_user_watches), ENOENT
  ///   for a group that is gone.
  package func addGroup(_ path: String) throws(SystemError) {
    try add(
      path,
      UInt32(IN_CREATE) | UInt32(IN_DELETE) | UInt32(IN_MOVED_TO) | UInt32(IN_MODIFY)
        | UInt32(IN_ONLYDIR))
  }

  /// Reports groups that are made in a cgroup's directory, renamed into it or removed, and no
  /// writes: those of all controllers would be heard on cgroup v2.
  ///
  /// - Parameter path: The directory.
  /// - Throws: ``SystemError``, as ``addGroup(_:)`` does.
  package func addChildren(of path: String) throws(SystemError) {
    try add(
      path, UInt32(IN_CREATE) | UInt32(IN_DELETE) | UInt32(IN_MOVED_TO) | UInt32(IN_ONLYDIR))
  }

  /// Reports each write to a file, and each change that the kernel announces itself.
  ///
  /// - Parameter path: The file.
  /// - Throws: ``SystemError``, as ``addGroup(_:)`` does.
  package func addWrites(toFile path: String) throws(SystemError) {
    try add(path, UInt32(IN_MODIFY))
  }

  /// Reports names that are created in, moved to or removed from a directory.
  ///
  /// Its own removal is not reported: the kernel says that only once no process has it open.
  ///
  /// - Parameter path: The directory.
  /// - Returns: The number by which ``take(_:)`` names it.
  /// - Throws: ``SystemError``, as ``addGroup(_:)`` does.
  package func addDirectory(_ path: String) throws(SystemError) -> Int32 {
    try retrying("watch", path) {
      inotify_add_watch(
        descriptor.number, path,
        UInt32(IN_CREATE) | UInt32(IN_MOVED_TO) | UInt32(IN_DELETE) | UInt32(IN_ONLYDIR))
    }
  }

  /// Hears no more of a directory; of one that is gone the kernel does so by itself.
  package func remove(_ number: Int32) { inotify_rm_watch(descriptor.number, number) }

  /// What has happened to a name in a directory of ``addDirectory(_:)``.
  package struct Change {
    /// The directory's number; -1 if the kernel has lost changes.
    package let directory: Int32
    /// The name.
    package let name: String
    /// Whether it was removed.
    package let isRemoval: Bool
  }

  /// Takes what has happened to names in directories of ``addDirectory(_:)``.
  package func take(_ body: (Change) -> Void) {
    withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 8) { buffer in
      while true {
        let count = Glibc.read(descriptor.number, buffer.baseAddress, buffer.count)
        guard count > 0 else { return }
        var place = 0
        while place + MemoryLayout<inotify_event>.size <= count {
          let event = UnsafeRawBufferPointer(buffer).loadUnaligned(
            fromByteOffset: place, as: inotify_event.self)
          let start = place + MemoryLayout<inotify_event>.size
          let name = UnsafeRawBufferPointer(rebasing: buffer[start..<start + Int(event.len)])
          place = start + Int(event.len)
          if event.mask & UInt32(IN_IGNORED) != 0 { continue }
          body(
            Change(
              directory: event.wd, name: String(decoding: name.prefix { $0 != 0 }, as: UTF8.self),
              isRemoval: event.mask & UInt32(IN_DELETE) != 0))
        }
      }
    }
  }

  private func add(_ path: String, _ events: UInt32) throws(SystemError) {
    guard hears else { return }
    try retrying("watch", path) { inotify_add_watch(descriptor.number, path, events) }
  }

  /// Forgets what happened so far; the caller looks at the file itself, which is the truth.
  ///
  /// - Returns: Whether anything had happened.
  @discardableResult
  package func drain() -> Bool {
    withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 8) { buffer in
      var happened = false
      while Glibc.read(descriptor.number, buffer.baseAddress, buffer.count) > 0 { happened = true }
      return happened
    }
  }
}

// SPDX-License-Identifier: Apache-2.0
internal import Glibc

// What may fail at any time, because another process ends, removes a file or lacks a right, and whose
// caller goes on without. The name of each says so: everywhere else an error is thrown on, handled, or
// dropped with a reason beside it.

extension FileDescriptor {
  /// Opens a file, if it is there and may be opened.
  package static func openIfPossible(
    _ path: UnsafePointer<CChar>, _ flags: CInt
  ) -> FileDescriptor? {
    // Its absence is an answer.
    try? open(path, flags)
  }

  /// Opens a name below this directory, if it is there and may be opened.
  package func openIfPossible(_ name: UnsafePointer<CChar>, _ flags: CInt) -> FileDescriptor? {
    // Its absence is an answer.
    try? open(name, flags)
  }

  /// The text of a whole small file, if it is there and may be read.
  package static func textIfReadable(of path: String) -> String? {
    // Its absence is an answer.
    try? text(of: path)
  }

  /// The bytes from here to the end, if they can be read and are not too many.
  package func bytesIfReadable(limit: Int = .max) -> [UInt8]? {
    // As good as no file.
    try? readAll(limit: limit)
  }

  /// The bytes of a file, if it is there, may be read and is not too long.
  package static func bytesIfReadable(
    of path: UnsafePointer<CChar>, _ flags: CInt = O_RDONLY, limit: Int = .max
  ) -> [UInt8]? {
    openIfPossible(path, flags)?.bytesIfReadable(limit: limit)
  }

  /// The last bytes of a file, if they can be read.
  package func endIfReadable(_ count: Int) -> [UInt8]? {
    // As good as no file.
    try? end(count)
  }

  /// Bytes of a file from a place on; none if they cannot be read.
  package func bytesIfReadable(at start: Int, _ count: Int) -> [UInt8] {
    // As good as a file that ends there.
    (try? bytes(at: start, count)) ?? []
  }

  /// Takes a flock(2) on the open file, if no other process has it.
  package func lockIfFree() -> Bool {
    // Without a lock the caller must not go on, whatever the reason.
    (try? lock(wait: false)) == true
  }

  /// Whether it is a regular file.
  package var isRegularFile: Bool { statusIfKnown?.isRegularFile == true }

  /// The text of a small file from its start, if it can be read: not of a cgroup that is gone.
  package func contentsIfReadable() -> String? {
    // The group is gone, and with it whatever the text would be used for.
    try? contents(subject: "a file")
  }

  /// The names in a directory; none if it cannot be read.
  package var entriesIfReadable: [String] {
    // It was removed meanwhile.
    (try? entries()) ?? []
  }

  /// The names of the directories in a directory; none if it cannot be read.
  package var subdirectoriesIfReadable: [String] {
    // It was removed meanwhile.
    (try? subdirectories()) ?? []
  }

  /// The names in the directory of a path; none if it is not there or cannot be read.
  package static func entriesIfReadable(of path: UnsafePointer<CChar>) -> [String] {
    openIfPossible(path, O_RDONLY | O_DIRECTORY)?.entriesIfReadable ?? []
  }

  /// What stat(2) says of the open file, if it says anything.
  package var statusIfKnown: FileStatus? {
    // Only of a network file system can fstat(2) fail.
    try? status()
  }

  /// What stat(2) says of a name below this directory, if that can be found.
  package func statusIfThere(of name: UnsafePointer<CChar>) -> FileStatus? {
    // What cannot be looked at is as good as absent.
    (try? status(of: name)) ?? nil
  }

  /// Removes a name of this directory, if that can be done; what is left is swept up later.
  package func removeIfPossible(_ name: UnsafePointer<CChar>, directory: Bool = false) {
    // The next sweep tries again.
    try? remove(name, directory: directory)
  }

  /// Writes a text to a peer or a file that may have gone.
  ///
  /// - Returns: Whether all of it was taken.
  @discardableResult
  package func writeIfPossible(_ text: String) -> Bool {
    // A peer that is gone needs no answer.
    (try? write(text)) != nil
  }
}

extension FileStatus {
  /// What stat(2) says of a path, if it is there.
  package static func ifThere(_ path: UnsafePointer<CChar>) -> FileStatus? {
    // What cannot be looked at is as good as absent.
    try? following(path)
  }
}

extension Poller {
  /// Adds a descriptor, if the kernel has room for another one.
  ///
  /// - Returns: Whether it was added.
  package func addIfPossible(_ number: Int32, token: UInt64) -> Bool {
    // The caller does without, or tries again.
    (try? add(number, token: token)) != nil
  }

  /// The same as ``addUrgent(_:token:)``.
  package func addUrgentIfPossible(_ number: Int32, token: UInt64) -> Bool {
    // The caller does without, or tries again.
    (try? addUrgent(number, token: token)) != nil
  }
}

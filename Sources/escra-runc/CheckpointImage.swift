// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import Syscalls

/// How much memory the processes of a checkpoint need, as the sizes of CRIU's files say.
///
/// CRIU has all pages in place before a supervisor can find the container, so the first limit has to
/// be large enough for them. Only sizes are read, and whatever is no regular file is ignored.
struct CheckpointImage: Equatable {
  /// Bytes that are needed in any case: one process's pages are never counted twice.
  private(set) var least: Int64 = 0
  /// All of its bytes; more than is needed where processes share pages since a fork(2).
  private(set) var most: Int64 = 0

  /// What a limit has above the pages: CRIU's own use before it leaves, page tables, and what the
  /// container takes until its supervisor has found it.
  var limit: Int64 {
    let sum = most.addingReportingOverflow(max(32 << 20, most / 8))
    return sum.overflow ? .max : sum.partialValue & ~0xfff
  }

  /// Reads the sizes of an image.
  ///
  /// Pages that a `checkpoint --pre-dump` has written are in a directory of its own, to which the
  /// name "parent" leads, and so on.
  ///
  /// - Parameter path: The image's directory; nil for ``defaultPath``.
  init?(_ path: UnsafePointer<CChar>?) {
    let flags = O_RDONLY | O_DIRECTORY
    // An image that cannot be opened is the low-level runtime's to complain of.
    guard
      var directory = path.map({ FileDescriptor.openIfPossible($0, flags) })
        ?? FileDescriptor.openIfPossible(Self.defaultPath, flags)
    else { return nil }
    var largest: Int64 = 0
    var temporary: Int64 = 0
    var seen: [FileStatus.Identity] = []
    while let identity = directory.statusIfKnown?.identity, !seen.contains(identity) {
      for name in directory.entriesIfReadable {
        if name.hasPrefix("pages-"), name.hasSuffix(".img") {
          let size = Self.size(of: name, in: directory)
          largest = max(largest, size)
          add(size)
        } else if seen.isEmpty, name.hasPrefix("tmpfs-"), name.hasSuffix(".tar.gz.img") {
          temporary += Self.unpackedSize(of: name, in: directory)
        }
      }
      seen.append(identity)
      guard seen.count < Self.mostParents,
        let parent = directory.openIfPossible("parent", O_RDONLY | O_DIRECTORY)
      else { break }
      directory = parent
    }
    add(temporary)
    least = min(most, largest + temporary)
  }

  /// Where runc and crun look unless told otherwise.
  static let defaultPath = "checkpoint"
  private static let mostParents = 64

  private mutating func add(_ size: Int64) {
    let sum = most.addingReportingOverflow(size)
    most = sum.overflow ? .max : sum.partialValue
  }

  private static func size(of name: String, in directory: borrowing FileDescriptor) -> Int64 {
    // Removed meanwhile, it has no size.
    let status = try? directory.status(of: name, following: true)
    return status?.isRegularFile == true ? Int64(status?.size ?? 0) : 0
  }

  /// What is in the archive of a tmpfs: gzip ends with the size of what it has packed, modulo 4 GiB
  /// (RFC 1952, ISIZE).
  private static func unpackedSize(
    of name: String, in directory: borrowing FileDescriptor
  ) -> Int64 {
    guard size(of: name, in: directory) >= 18,
      let file = directory.openIfPossible(name, O_RDONLY | O_NONBLOCK),
      let end = file.endIfReadable(4)
    else { return 0 }
    return Int64(end.reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) })
  }
}

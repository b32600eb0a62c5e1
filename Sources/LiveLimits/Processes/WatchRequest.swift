// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Control
internal import Glibc
internal import Hooks
internal import Syscalls

/// What the hooks in the scheduler are to tell of: a container that was found.
struct WatchRequest: Equatable {
  /// Its cgroup, as its id.
  var group: UInt64
  /// Another group of the container's, which may have the same limit: around it, or in it; nil for
  /// none.
  var outer: UInt64?
  /// What is worth telling.
  var limits: HookLimits

  /// Numbers in a line, for who enters it on a supervisor's behalf.
  var text: String {
    "\(group) \(outer ?? 0) \(limits.floor) \(limits.quiet) \(limits.margin) \(limits.near)"
  }

  /// Reads ``text`` back; nil for anything else.
  init?(_ text: some StringProtocol) {
    let words = text.split(separator: " ").compactMap { Int64($0) }
    guard words.count == 6, let group = UInt64(exactly: words[0]),
      let outer = UInt64(exactly: words[1])
    else { return nil }
    self.init(
      group: group, outer: outer == 0 ? nil : outer,
      limits: HookLimits(
        floor: words[2], quiet: words[3], margin: words[4], near: words[5]))
  }

  init(group: UInt64, outer: UInt64?, limits: HookLimits) {
    self.group = group
    self.outer = outer
    self.limits = limits
  }
}

/// Hooks that were not ready when the container had been found: they come as open files.
///
/// A supervisor that supervises already can open nothing any more. So who has made them ready enters
/// the container for it, and sends it the ring and the links over the socket on which it was asked.
struct HookPromise: ~Copyable {
  /// Where they come, for a poller.
  let socket: FileDescriptor

  /// What came.
  enum Delivery: Equatable {
    /// Nothing yet, or what was meant for who would have waited.
    case nothing
    /// They will not come.
    case end
    /// The ring, the links, and what there is beside the program that predicts.
    case files([Int32], HookIDs.Nets)
  }

  /// Looks whether they have come.
  func take() -> Delivery {
    withUnsafeTemporaryAllocation(of: CChar.self, capacity: 256) { text in
      withUnsafeTemporaryAllocation(of: CInt.self, capacity: Int(ESCRA_FILES)) { files in
        guard let bytes = text.baseAddress, let numbers = files.baseAddress else { return .end }
        var count: CInt = 0
        let length = escra_receive_files(socket.number, bytes, text.count, numbers, &count)
        if length < 0 { return errno == EAGAIN || errno == EINTR ? .nothing : .end }
        if length == 0 { return .end }
        guard count > 0 else { return .nothing }
        let word = String(
          decoding: UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(text)[..<length]),
          as: UTF8.self)
        return .files(files.prefix(Int(count)).map { $0 }, .init(rawValue: UInt32(word) ?? 0))
      }
    }
  }
}

// SPDX-License-Identifier: Apache-2.0
internal import CLinux

/// What one thread waits on: epoll(7), level-triggered.
package struct Poller: ~Copyable {
  private let descriptor: FileDescriptor
  /// What is added to each token: the parts of one loop choose theirs without knowing each other's.
  private let offset: UInt64

  /// Makes an empty poller.
  package init() throws(SystemError) {
    offset = 0
    descriptor = FileDescriptor(
      owning: try retrying("make", "an epoll") { epoll_create1(CInt(EPOLL_CLOEXEC)) })
  }

  /// Another handle on the same poller: for a part of the loop that adds descriptors to it.
  ///
  /// - Parameters:
  ///   - other: The poller.
  ///   - offset: What is added to the tokens of this handle, besides what `other` adds.
  /// - Throws: ``SystemError``.
  package init(sharing other: borrowing Poller, offset: UInt64 = 0) throws(SystemError) {
    descriptor = try other.descriptor.duplicate()
    self.offset = other.offset + offset
  }

  /// Adds a descriptor.
  ///
  /// - Parameters:
  ///   - number: The descriptor; closing it removes it.
  ///   - token: What ``wait(_:)`` will say when it is readable.
  /// - Throws: ``SystemError``.
  package func add(_ number: Int32, token: UInt64) throws(SystemError) {
    try add(number, token: token, EPOLLIN.rawValue)
  }

  /// Adds a listening socket: ``wait(_:)`` says once that connections wait, and says so again when
  /// another one comes.
  ///
  /// A connection that cannot be accepted for want of a descriptor keeps no loop busy.
  ///
  /// - Parameters:
  ///   - number: The descriptor.
  ///   - token: What ``wait(_:)`` will say; all that wait are to be accepted then.
  /// - Throws: ``SystemError``.
  package func addListener(_ number: Int32, token: UInt64) throws(SystemError) {
    try add(number, token: token, EPOLLIN.rawValue | EPOLLET.rawValue)
  }

  private func add(_ number: Int32, token: UInt64, _ events: UInt32) throws(SystemError) {
    var event = epoll_event()
    event.events = events
    event.data.u64 = offset + token
    try retrying("watch", "descriptor \(number)") {
      epoll_ctl(descriptor.number, EPOLL_CTL_ADD, number, &event)
    }
  }

  /// Adds a descriptor that has urgent news: EPOLLPRI.
  ///
  /// Such is a file of cgroup v2 that the kernel says it has changed; it is readable at any time.
  ///
  /// - Parameters:
  ///   - number: The descriptor; reading the file is what takes note of the news.
  ///   - token: What ``wait(_:)`` will say.
  /// - Throws: ``SystemError``.
  package func addUrgent(_ number: Int32, token: UInt64) throws(SystemError) {
    try add(number, token: token, EPOLLPRI.rawValue)
  }

  /// Adds a descriptor, or changes what is waited for: the socket of a library that says so.
  ///
  /// - Parameters:
  ///   - number: The descriptor.
  ///   - token: What ``wait(_:)`` will say.
  ///   - reads: Whether to wait until it is readable.
  ///   - writes: Whether to wait until it is writable.
  /// - Throws: ``SystemError``.
  package func set(
    _ number: Int32, token: UInt64, reads: Bool, writes: Bool
  ) throws(SystemError) {
    var event = epoll_event()
    event.events = (reads ? EPOLLIN.rawValue : 0) | (writes ? EPOLLOUT.rawValue : 0)
    event.data.u64 = offset + token
    if epoll_ctl(descriptor.number, EPOLL_CTL_MOD, number, &event) == 0 { return }
    try retrying("watch", "descriptor \(number)") {
      epoll_ctl(descriptor.number, EPOLL_CTL_ADD, number, &event)
    }
  }

  /// Removes a descriptor that stays open.
  package func remove(_ number: Int32) {
    var event = epoll_event()
    _ = epoll_ctl(descriptor.number, EPOLL_CTL_DEL, number, &event)
  }

  /// Waits until something is readable and hands each token to `body`.
  ///
  /// There is no timeout: time is a descriptor too (``DeadlineTimer``).
  package func wait(_ body: (UInt64) -> Void) throws(SystemError) { try take(-1, body) }

  /// Hands the token of each that is readable to `body`, and does not wait.
  package func poll(_ body: (UInt64) -> Void) throws(SystemError) { try take(0, body) }

  private func take(_ timeout: CInt, _ body: (UInt64) -> Void) throws(SystemError) {
    var events = (epoll_event(), epoll_event(), epoll_event(), epoll_event())
    let count = try retrying("wait on", "an epoll") {
      withUnsafeMutableBytes(of: &events) {
        epoll_wait(
          descriptor.number, $0.baseAddress?.assumingMemoryBound(to: epoll_event.self), 4, timeout)
      }
    }
    if count > 0 { body(events.0.data.u64) }
    if count > 1 { body(events.1.data.u64) }
    if count > 2 { body(events.2.data.u64) }
    if count > 3 { body(events.3.data.u64) }
  }
}

// SPDX-License-Identifier: Apache-2.0
import Glibc
internal import Quantities
import Syscalls

/// What the race tells its allocator, through a pipe: the limit in force, in bytes, and when slack
/// is due to be given back, or one of the words below.
struct Announcement: Equatable {
  var limit: Int64 = 0
  var due: Nanoseconds = Announcement.none

  /// There is no slack.
  static let none: Nanoseconds = 0
  /// There is, and the allocator is to say that it stays as it is.
  static let stay: Nanoseconds = -1
  /// It was decided to give slack back: grow now, and say so.
  static let decided: Nanoseconds = -2
  /// That was done, or was not to be: grow a little more, and say so.
  static let written: Nanoseconds = -3
}

/// The race's ends of two pipes; what finds no room is not said.
struct Announcer: ~Copyable {
  private let said: FileDescriptor
  private let answered: FileDescriptor
  private var last = Announcement()

  init(owning said: CInt, _ answered: CInt) {
    self.said = FileDescriptor(owning: said)
    self.answered = FileDescriptor(owning: answered)
    for end in [said, answered] { _ = fcntl(end, F_SETFL, O_NONBLOCK) }
  }

  mutating func say(_ announcement: Announcement) {
    guard announcement != last else { return }
    last = announcement
    var words = (announcement.limit, announcement.due)
    _ = withUnsafeBytes(of: &words) { write(said.number, $0.baseAddress, $0.count) }
  }

  /// Whether there was an answer since this was asked.
  func hasAnswered() -> Bool {
    var answer: UInt8 = 0
    return read(answered.number, &answer, 1) == 1
  }

  /// Says something, and waits until it was done; or until nobody is there any more to do it.
  mutating func order(_ announcement: Announcement) {
    say(announcement)
    var entry = pollfd(fd: answered.number, events: Int16(POLLIN), revents: 0)
    _ = poll(&entry, 1, -1)
    _ = hasAnswered()
  }
}

/// The allocator's ends, which are stdin and stdout.
struct Listener {
  /// Takes all that was said.
  ///
  /// - Parameter patience: For how many milliseconds to wait for something.
  /// - Returns: What was said, the last thing last; nil at the end.
  func hear(patience: CInt) -> [Announcement]? {
    var heard: [Announcement] = []
    var entry = pollfd(fd: STDIN_FILENO, events: Int16(POLLIN), revents: 0)
    while poll(&entry, 1, heard.isEmpty ? patience : 0) > 0 {
      var words: (Int64, Int64) = (0, 0)
      // Each is written at once, and so it is read.
      let count = withUnsafeMutableBytes(of: &words) { read(STDIN_FILENO, $0.baseAddress, 16) }
      guard count == 16 else { return nil }
      heard.append(Announcement(limit: words.0, due: words.1))
      // What is ordered is done before anything else is heard.
      if words.1 <= Announcement.decided { break }
    }
    return heard
  }

  /// Says that what was ordered is done.
  func answer() { _ = write(STDOUT_FILENO, "1", 1) }
}

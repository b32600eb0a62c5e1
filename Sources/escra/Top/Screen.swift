// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Glibc
internal import Quantities
internal import Syscalls

/// The terminal, borrowed: a screen of its own and keys as they are pressed.
///
/// What ends the program comes as a descriptor too (signalfd(2)), so that every way out leads
/// past ``giveBack()`` and the terminal is left as it was found.
final class Screen {
  private let signals: FileDescriptor
  private var found = termios()
  private let isTerminal: Bool
  private var hasKeys: Bool

  /// Takes the terminal.
  ///
  /// - Throws: ``SystemError`` when the kernel has no signal descriptor to give.
  init() throws(SystemError) {
    var mask = sigset_t()
    sigemptyset(&mask)
    for signal in [SIGINT, SIGTERM, SIGHUP, SIGQUIT] { sigaddset(&mask, signal) }
    sigprocmask(SIG_BLOCK, &mask, nil)
    signals = FileDescriptor(
      owning: try retrying("make", "a signal descriptor") {
        signalfd(-1, &mask, CInt(SFD_CLOEXEC))
      })
    isTerminal = tcgetattr(STDIN_FILENO, &found) == 0
    hasKeys = isTerminal
    if hasKeys {
      var raw = found
      // Keys without Return and without echo; Ctrl-C and Ctrl-\ stay signals, Ctrl-Z does not:
      // a stopped program could not give the terminal back.
      raw.c_lflag &= ~tcflag_t(ICANON | ECHO)
      withUnsafeMutableBytes(of: &raw.c_cc) { $0[Int(VSUSP)] = 0 }
      tcsetattr(STDIN_FILENO, TCSANOW, &raw)
    }
    // A terminal that is gone ends the loop at its first frame.
    try? Output.write("\u{1b}[?1049h\u{1b}[?25l")
  }

  /// Leaves the terminal as it was.
  func giveBack() {
    try? Output.write("\u{1b}[?25h\u{1b}[?1049l")
    if isTerminal { tcsetattr(STDIN_FILENO, TCSANOW, &found) }
  }

  /// Shows lines from the top, cut to the terminal's size; a line that is cut ends in "…".
  func show(_ lines: [String]) throws(Complaint) {
    let size = Output.size
    let shown = lines.prefix(size.rows - 1).map {
      ($0.count > size.columns ? $0.prefix(size.columns - 1) + "…" : $0[...]) + "\u{1b}[K\n"
    }
    try Output.write("\u{1b}[H" + shown.joined() + "\u{1b}[J")
  }

  /// Waits until a moment, or until a key is pressed.
  ///
  /// - Parameter moment: On the monotonic clock.
  /// - Returns: What was typed, nothing at the moment; nil to end: by a signal, or since the terminal
  ///   is gone.
  func keys(before moment: Nanoseconds) -> [UInt8]? {
    while true {
      let left = (moment - monotonicNow() + 999_999) / 1_000_000
      guard left > 0 else { return [] }
      var entries = [pollfd(fd: signals.number, events: Int16(POLLIN), revents: 0)]
      if hasKeys { entries.append(pollfd(fd: STDIN_FILENO, events: Int16(POLLIN), revents: 0)) }
      guard poll(&entries, nfds_t(entries.count), CInt(min(left, 60_000))) > 0 else { continue }
      if entries[0].revents != 0 { return nil }
      var keys = [UInt8](repeating: 0, count: 64)
      let count = read(STDIN_FILENO, &keys, keys.count)
      if count > 0 { return Array(keys.prefix(count)) }
      if count == 0 { hasKeys = false }
      // The terminal is gone.
      if count < 0, errno != EINTR, errno != EAGAIN { return nil }
    }
  }
}

/// Sleeps until a moment of the monotonic clock: clock_nanosleep(2).
func sleep(until moment: Nanoseconds) {
  var time = timespec(tv_sec: Int(moment / 1_000_000_000), tv_nsec: Int(moment % 1_000_000_000))
  while clock_nanosleep(CLOCK_MONOTONIC, CInt(TIMER_ABSTIME), &time, nil) == EINTR {}
}

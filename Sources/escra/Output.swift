// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Glibc
internal import Syscalls

/// Standard output, through write(2).
enum Output {
  /// Whether it is a terminal that understands cursor movements.
  static var isTerminal: Bool {
    let kind = getenv("TERM").map { String(cString: $0) } ?? "dumb"
    return isatty(STDOUT_FILENO) == 1 && kind != "dumb" && !kind.isEmpty
  }

  /// Columns and rows of the terminal; 80 and 24 where it does not say.
  static var size: (columns: Int, rows: Int) {
    var columns: CInt = 0
    var rows: CInt = 0
    guard escra_terminal_size(STDOUT_FILENO, &columns, &rows) == 0, columns > 0, rows > 0 else {
      return (80, 24)
    }
    return (Int(columns), Int(rows))
  }

  /// Columns of the terminal; nil where standard output is none.
  static var columns: Int? { isTerminal ? size.columns : nil }

  /// Writes text.
  ///
  /// - Throws: ``Complaint`` where it cannot be written: the disk is full, or a reader is gone and
  ///   the caller ignores SIGPIPE.
  static func write(_ text: String) throws(Complaint) {
    let output = FileDescriptor(owning: STDOUT_FILENO)
    var failure: SystemError?
    do throws(SystemError) { try output.write(text) } catch { failure = error }
    // Standard output is not ours to close.
    _ = output.release()
    if let failure {
      throw Complaint(
        SystemError("write to", "standard output", errno: failure.errno).description
          + "; the output is incomplete")
    }
  }

  /// Writes lines.
  static func write(lines: [String]) throws(Complaint) {
    try write(lines.map { $0 + "\n" }.joined())
  }

  /// Fills the places of standard descriptors that the caller has closed, so that no file of ours
  /// is opened in one of them and taken for the caller's output.
  static func fillStandardDescriptors() {
    for number in STDIN_FILENO...STDERR_FILENO where fcntl(number, F_GETFD) == -1 {
      // The lowest free number; a write to it fails as one to a closed descriptor does.
      _ = open("/dev/null", O_RDONLY)
    }
  }
}

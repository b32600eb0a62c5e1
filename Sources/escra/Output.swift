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

  /// Writes text; whoever does not want to read it any more has said so by SIGPIPE.
  static func write(_ text: String) {
    let output = FileDescriptor(owning: STDOUT_FILENO)
    try? output.write(text)
    // Standard output is not ours to close.
    _ = output.release()
  }

  /// Writes lines.
  static func write(lines: [String]) {
    write(lines.map { $0 + "\n" }.joined())
  }
}

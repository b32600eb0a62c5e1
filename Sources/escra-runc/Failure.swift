// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import OCISpec
internal import Quantities
internal import Syscalls

/// Ends the program with an error of ours, the way callers of runc read errors: one JSON line in
/// the log, the same sentence on stderr, exit code 1.
///
/// One line, and nothing else ever: Podman decodes the whole file as one object, and containerd
/// gives up at the first byte that is no JSON. stderr gets it in any case; that is what conmon
/// passes on, and what is left when the log cannot be opened.
///
/// - Parameters:
///   - sentence: What went wrong, with which value, and what to do.
///   - log: The caller's `--log`, if any.
func fail(_ sentence: String, log: UnsafePointer<CChar>?) -> Never {
  let sentence = printable("escra-runc: " + sentence)
  umask(RuntimeCall.callersMask)
  if let log, !isNoFile(log) {
    do throws(SystemError) {
      // Without blocking: a FIFO that no process reads would keep us for ever.
      let file = try FileDescriptor.open(
        log, O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK | O_NOCTTY, mode: 0o644)
      try file.write(logLine(sentence, time: wallClockNow()))
    } catch {
      // The sentence is on stderr below.
    }
  }
  writeToStandardError(sentence)
  exit(1)
}

/// Says something on stderr and goes on; the log is for errors that end a call.
func warn(_ sentence: String) {
  writeToStandardError(printable("escra-runc: " + sentence))
}

/// One line of the log, as runc's `--log-format json` writes it.
func logLine(_ sentence: String, time: Nanoseconds) -> [UInt8] {
  Array(#"{"level":"error","msg":"\#(jsonEscaped(sentence))","time":"\#(rfc3339(time))"}"#.utf8)
    + [UInt8(ascii: "\n")]
}

/// The inside of a JSON string (RFC 8259, section 7).
func jsonEscaped(_ text: String) -> String {
  var escaped = ""
  for scalar in text.unicodeScalars {
    switch scalar {
    case "\"": escaped += #"\""#
    case "\\": escaped += #"\\"#
    case "\n": escaped += #"\n"#
    case "\r": escaped += #"\r"#
    case "\t": escaped += #"\t"#
    case "\u{0}"..<"\u{20}":
      let digits = String(scalar.value, radix: 16)
      escaped += #"\u"# + String(repeating: "0", count: 4 - digits.utf8.count) + digits
    default: escaped.unicodeScalars.append(scalar)
    }
  }
  return escaped
}

/// crun's `--log` may also name a journal: `journald:ID`, `syslog:ID`.
private func isNoFile(_ log: UnsafePointer<CChar>) -> Bool {
  strncmp(log, "journald:", 9) == 0 || strncmp(log, "syslog:", 7) == 0
}

private func writeToStandardError(_ line: String) {
  var line = line + "\n"
  _ = line.withUTF8 { write(STDERR_FILENO, $0.baseAddress, $0.count) }
}

// SPDX-License-Identifier: Apache-2.0
import Glibc
import LiveLimits
import Syscalls

/// A directory that is gone with everything in it when the test is over.
final class TemporaryDirectory {
  let path: String

  init() throws(SystemError) {
    var template = Array("/tmp/escra-live-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw SystemError.last("make", "a directory") }
    path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  func opened() throws(SystemError) -> FileDescriptor {
    try FileDescriptor.open(path, O_RDONLY | O_DIRECTORY)
  }

  func write(_ text: String, to name: String) throws(SystemError) {
    try FileDescriptor.open("\(path)/\(name)", O_WRONLY | O_CREAT | O_TRUNC).write(text)
  }

  func read(_ name: String) throws(SystemError) -> String {
    let file = try FileDescriptor.open("\(path)/\(name)", O_RDONLY)
    return String(decoding: try file.readAll(), as: UTF8.self)
  }

  private static func empty(_ path: String) {
    guard let directory = try? FileDescriptor.open(path, O_RDONLY | O_DIRECTORY) else { return }
    for name in (try? directory.entries()) ?? [] {
      if unlinkat(directory.number, name, 0) == 0 { continue }
      empty(path + "/" + name)
      try? directory.remove(name, directory: true)
    }
  }

  deinit {
    Self.empty(path)
    rmdir(path)
  }
}

/// SplitMix64: the same random values in every run, so that a failure can be looked at.
struct SeededGenerator: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var value = state
    value = (value ^ (value >> 30)) &* 0xbf58_476d_1ce4_e5b9
    value = (value ^ (value >> 27)) &* 0x94d0_49bb_1331_11eb
    return value ^ (value >> 31)
  }

  /// A short text of what is hard for files of lines: separators, and characters that Swift takes
  /// as one with their neighbour.
  mutating func text() -> String {
    let parts = [
      "a", "Z", "/", ".", " ", "=", "%", "%0A", "\n", "\r", "\r\n", "\0", "\t", "\\", "ä",
      "\u{301}",
      "\u{338}", "\u{600}", "\u{200d}", "\u{2028}", "日本", "👩‍👩‍👧", "🇩🇪",
    ]
    return (0..<Int.random(in: 0...6, using: &self)).map { _ in
      parts.randomElement(using: &self) ?? ""
    }.joined()
  }

  /// Any number, the extreme ones often.
  mutating func number() -> Int64 {
    switch UInt8.random(in: 0...7, using: &self) {
    case 0: .max
    case 1: .min
    case 2: Int64.random(in: -2...2, using: &self)
    case 3: Int64.random(in: 1...1_000_000, using: &self)
    default:
      Int64.random(in: .min ... .max, using: &self) >> Int64.random(in: 0...63, using: &self)
    }
  }
}

/// Whether something comes true, within what a crowded machine takes.
func eventually(_ condition: () -> Bool) -> Bool {
  let deadline = monotonicNow() + 10_000_000_000
  while monotonicNow() < deadline {
    if condition() { return true }
    usleep(500)
  }
  return condition()
}

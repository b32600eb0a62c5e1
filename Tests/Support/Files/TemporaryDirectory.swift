// SPDX-License-Identifier: Apache-2.0
internal import Glibc
package import Syscalls

/// A directory that is gone with everything in it when the test is over.
package final class TemporaryDirectory {
  /// Its path.
  package let path: String

  /// Makes it in /tmp.
  package init() throws(SystemError) {
    var template = Array("/tmp/escra-test-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw SystemError.last("make", "a directory") }
    path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  /// Opens it.
  package func opened() throws(SystemError) -> FileDescriptor {
    try FileDescriptor.open(path, O_RDONLY | O_DIRECTORY)
  }

  /// Writes a file in it.
  package func write(_ text: String, to name: String) throws(SystemError) {
    try FileDescriptor.open("\(path)/\(name)", O_WRONLY | O_CREAT | O_TRUNC).write(text)
  }

  /// Reads a file in it.
  package func read(_ name: String) throws(SystemError) -> String {
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

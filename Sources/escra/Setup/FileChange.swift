// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import Syscalls

/// What a file's text is and shall be; nil for a file that is not there.
struct FileChange: Equatable {
  let path: String
  let before: String?
  let after: String?

  /// The text of a file of at most 16 MiB; nil where there is none.
  ///
  /// - Throws: ``Complaint`` for what cannot be read, or is not UTF-8.
  static func read(_ path: String) throws(Complaint) -> String? {
    let bytes: [UInt8]
    do throws(SystemError) {
      let file = try FileDescriptor.open(path, O_RDONLY | O_NONBLOCK)
      guard try file.status().isRegularFile else {
        throw SystemError("read", path, errno: EINVAL)
      }
      bytes = try file.readAll(limit: 16 << 20)
    } catch {
      if error.errno == ENOENT || error.errno == ENOTDIR { return nil }
      throw Complaint(error.description + (error.errno == EACCES ? "; run it as root" : ""))
    }
    guard let text = String(validating: bytes, as: UTF8.self) else {
      throw Complaint("\(path) is not UTF-8 text; mend it first")
    }
    return text
  }

  /// Makes the file what it shall be, by rename; a new one gets its directory.
  func apply() throws(Complaint) {
    do throws(SystemError) {
      guard let after else {
        try retrying("remove", path) { unlink(path) }
        return
      }
      // What a link points to is written, not the link.
      let resolved = realpath(path, nil)
      defer { free(resolved) }
      let target = resolved.map { String(cString: $0) } ?? path
      if resolved == nil { makeDirectory() }
      let next = target + ".escra-new"
      unlink(next)
      let file = try FileDescriptor.open(next, O_WRONLY | O_CREAT | O_EXCL, mode: 0o644)
      do throws(SystemError) {
        if let status = FileStatus.ifThere(target) {
          try file.setOwnerAndMode(of: status, subject: next)
        } else {
          try retrying("change the mode of", next) { fchmod(file.number, 0o644) }
        }
        try file.write(after)
        try retrying("rename", next) { rename(next, target) }
      } catch {
        unlink(next)
        throw error
      }
    } catch {
      let hint = [EACCES, EPERM].contains(error.errno) ? "; run it as root" : ""
      throw Complaint("\(error.description)\(hint)")
    }
  }

  private func makeDirectory() {
    var directory = ""
    for part in path.split(separator: "/").dropLast() {
      directory += "/" + part
      mkdir(directory, 0o755)
    }
  }

  /// The change that undoes this one.
  var reversed: FileChange { FileChange(path: path, before: after, after: before) }

  /// The change as `diff -u` shows it; the lines between the first and the last that differ are one
  /// hunk.
  var diff: [String] {
    let (old, new) = (Self.lines(before), Self.lines(after))
    var head = 0
    while head < min(old.count, new.count), old[head] == new[head] { head += 1 }
    var tail = 0
    while tail < min(old.count, new.count) - head,
      old[old.count - 1 - tail] == new[new.count - 1 - tail]
    { tail += 1 }
    let context = max(0, head - 3)
    let below = min(3, tail)
    func range(_ lines: [String]) -> String {
      let count = lines.count - tail + below - context
      return "\(count == 0 ? context : context + 1),\(count)"
    }
    func shown(_ lines: [String], _ range: Range<Int>, _ mark: String) -> [String] {
      lines[range].flatMap { line in
        line.utf8.last == 10
          ? [mark + line.dropLast()] : [mark + line, "\\ No newline at end of file"]
      }
    }
    return [
      "--- " + (before == nil ? "/dev/null" : path), "+++ " + (after == nil ? "/dev/null" : path),
      "@@ -\(range(old)) +\(range(new)) @@",
    ] + shown(old, context..<head, " ") + shown(old, head..<(old.count - tail), "-")
      + shown(new, head..<(new.count - tail), "+")
      + shown(old, (old.count - tail)..<(old.count - tail + below), " ")
  }

  private static func lines(_ text: String?) -> [String] {
    var lines: [String] = []
    var line: [UInt8] = []
    for byte in (text ?? "").utf8 {
      line.append(byte)
      if byte == 10 {
        lines.append(String(decoding: line, as: UTF8.self))
        line = []
      }
    }
    return line.isEmpty ? lines : lines + [String(decoding: line, as: UTF8.self)]
  }
}

// SPDX-License-Identifier: Apache-2.0
internal import Glibc

/// The text of this program and of its libraries, as far as it is in memory.
package enum ProgramText {
  /// Unmaps the pages of text that were needed until now: madvise(2), MADV_DONTNEED.
  ///
  /// Most of them are the start's: the kernel maps 64 KiB around each page that is touched
  /// (fault_around_bytes), and the dynamic linker touches all libraries. What is needed again comes
  /// from the page cache. Text is never written, so that nothing is lost.
  package static func release() {
    guard let maps = FileDescriptor.textIfReadable(of: "/proc/self/maps") else { return }
    for line in maps.split(separator: "\n") {
      guard let range = range(ofText: line) else { continue }
      madvise(UnsafeMutableRawPointer(bitPattern: range.lowerBound), range.count, MADV_DONTNEED)
    }
  }

  /// The addresses of a line of maps that is the text of a file (proc_pid_maps(5)); nil for any other.
  static func range(ofText line: some StringProtocol) -> Range<UInt>? {
    let fields = line.split(separator: " ", omittingEmptySubsequences: true)
    guard fields.count == 6, fields[1] == "r-xp", fields[5].hasPrefix("/") else { return nil }
    let ends = fields[0].split(separator: "-")
    guard ends.count == 2, let start = UInt(ends[0], radix: 16), let end = UInt(ends[1], radix: 16),
      start < end
    else { return nil }
    return start..<end
  }
}

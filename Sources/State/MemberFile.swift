// SPDX-License-Identifier: Apache-2.0
package import Application
internal import Glibc
package import Syscalls

/// A supervisor's own file in `members/`, open and locked for as long as it lives.
///
/// The lock says to the broker who it is and that it lives. It goes with the first descriptor of
/// the file that this process closes, so it is opened here once and never read again.
package final class MemberFile {
  private let file: FileDescriptor
  /// Others write to it when this supervisor is silent.
  private let killSwitch: FileDescriptor
  /// What is in it.
  package private(set) var record: MemberRecord

  package init(
    _ record: MemberRecord, owning file: consuming FileDescriptor,
    _ killSwitch: consuming FileDescriptor
  ) {
    self.record = record
    self.file = file
    self.killSwitch = killSwitch
  }

  /// Says what is held from now on: before the kernel's limit is raised, after it was lowered.
  package func hold(_ amount: Int64, of resource: SharedResource) {
    guard record[resource]?.held != amount else { return }
    record[resource]?.held = amount
    write(amount, at: MemberRecord.heldOffset(resource))
  }

  /// Says whether anything may be raised without a word to the broker that reads this.
  package func rest(_ isResting: Bool) {
    guard record.isResting != isResting else { return }
    record.isResting = isResting
    write(record.flags, at: MemberRecord.flagsOffset)
  }

  /// Replaces what does not change by the minute.
  package func replace(_ record: MemberRecord) {
    self.record = record
    let bytes = record.bytes
    _ = bytes.withUnsafeBytes { pwrite(file.number, $0.baseAddress, $0.count, 0) }
  }

  /// One word in one pwrite(2): a process that is killed leaves no half of it.
  private func write(_ word: Int64, at offset: Int) {
    var word = word.littleEndian
    _ = withUnsafeBytes(of: &word) { pwrite(file.number, $0.baseAddress, 8, offset) }
  }
}

// SPDX-License-Identifier: Apache-2.0
internal import Glibc
package import Syscalls

/// How far a container has come that is to be supervised no more: the file `released` of its
/// instance.
///
/// A file of its own, and no word in the state: supervisors write that as a whole, and one that is
/// about to be ended must not undo what was decided about it. While it is there no process
/// starts a supervisor.
package enum ReleaseStage: String, Sendable {
  /// It is decided. The next holder of the instance's lock gives back what is left to give back.
  case asked
  /// All is given back: its limits are its own, whichever process writes them.
  case done
}

extension StateDirectory {
  static let releaseFile = "released"
  /// What is left of a release that was undone: the supervisor before was ended, and did not crash.
  static let adoptionFile = "adopted"

  /// Whether it was adopted meanwhile.
  package func takeAdoption() -> Bool {
    guard descriptor.openIfPossible(Self.adoptionFile, O_RDONLY) != nil else { return false }
    descriptor.removeIfPossible(Self.adoptionFile)
    return true
  }

  /// How far it has come; nil for a container that is to be supervised.
  package var releaseStage: ReleaseStage? {
    guard let file = descriptor.openIfPossible(Self.releaseFile, O_RDONLY) else { return nil }
    let text = file.bytesIfReadable(limit: 64).map { String(decoding: $0, as: UTF8.self) }
    // What cannot be read is no reason to supervise; giving back twice is none to fear.
    return text.flatMap { ReleaseStage(rawValue: $0) } ?? .asked
  }

  /// Says how far it has come; nil makes it one that is to be supervised.
  ///
  /// - Throws: ``SystemError``; ENOSPC where there is no room for so much.
  package func mark(_ stage: ReleaseStage?) throws(SystemError) {
    guard let stage else {
      guard releaseStage != nil else { return }
      return try descriptor.rename(Self.releaseFile, to: Self.adoptionFile)
    }
    let temporary = "." + Self.releaseFile
    try descriptor.open(temporary, O_WRONLY | O_CREAT | O_TRUNC).write(stage.rawValue)
    do throws(SystemError) {
      try descriptor.rename(temporary, to: Self.releaseFile)
    } catch {
      // Two at once, and the other was quicker.
      guard error.errno == ENOENT, releaseStage != nil else { throw error }
    }
  }
}

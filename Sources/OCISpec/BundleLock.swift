// SPDX-License-Identifier: Apache-2.0
internal import Glibc
package import Quantities
internal import Syscalls

extension Bundle {
  /// Locks the bundle for an edit, and brings back what an earlier one left behind.
  ///
  /// config.json is to be read after this: what stood there before may have been an edit.
  ///
  /// - Parameter timeout: How long to wait for the lock. Its holder lets go once the low-level
  ///   runtime has read the file or has ended, and a loaded host may take seconds for that; one
  ///   that hangs must not make its callers hang, too.
  /// - Returns: The right to edit, which ends with its last descriptor.
  /// - Throws: ``ConfigError/busy(path:)`` after that time.
  package func edit(timeout: Nanoseconds = 10_000_000_000) throws(ConfigError) -> BundleEdit {
    guard let edit = try lock(within: timeout, creating: true) else { throw .busy(path: path) }
    try edit.putBack(keepingRecord: true) { (_) throws(ConfigError) in }
    return edit
  }

  /// Brings config.json back where an edit was left behind, unless its owner still is at work.
  ///
  /// One fstatat(2) where there is nothing.
  ///
  /// - Parameter timeout: How long to wait for the lock: a process that was just forked may have
  ///   the descriptor of an owner that has ended, until it executes another program.
  /// - Returns: What there was to do.
  /// - Throws: ``ConfigError/busy(path:)`` while another process holds the bundle's lock.
  @discardableResult
  package func heal(timeout: Nanoseconds = 0) throws(ConfigError) -> BundleEdit.Healing {
    try lock(within: timeout, creating: false)?.putBack() ?? .nothing
  }

  /// Whether another container's edit is in the place of config.json.
  package var isEdited: Bool {
    directory.statusIfThere(of: names.original) != nil
  }

  /// Opens and locks the record, which only the bundle's owner and root can open.
  ///
  /// - Parameters:
  ///   - timeout: How long.
  ///   - creates: Whether a record is made where there is none.
  /// - Returns: nil where there is none.
  /// - Throws: ``ConfigError/busy(path:)`` after that time.
  func lock(
    within timeout: Nanoseconds, creating creates: Bool
  ) throws(ConfigError) -> BundleEdit? {
    let wait = LockWait(for: timeout)
    do throws(SystemError) {
      while true {
        if !creates, try directory.status(of: names.record) == nil { return nil }
        // Between the two it may have gone.
        let lock = try directory.open(
          names.record, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CREAT)
        if try lock.lock(wait: false) {
          // Its last holder may have removed it while this one waited.
          if try directory.status(of: names.record)?.identity == lock.status().identity {
            return BundleEdit(
              holding: try directory.duplicate(), lock: lock, path: path, names: names)
          }
          continue
        }
        if !wait.pause() { break }
      }
    } catch {
      throw .system(SystemError(error.step, "the bundle \(path)", errno: error.errno))
    }
    throw .busy(path: path)
  }
}

// SPDX-License-Identifier: Apache-2.0
internal import Glibc
public import Syscalls

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
  public func edit(timeout: Nanoseconds = 10_000_000_000) throws(ConfigError) -> BundleEdit {
    let edit = BundleEdit(holding: try lock(timeout), path: path)
    try edit.putBack()
    return edit
  }

  /// Brings config.json back where an edit was left behind, unless its owner still is at work.
  ///
  /// One fstatat(2) where there is nothing.
  ///
  /// - Returns: What there was to do.
  /// - Throws: ``ConfigError/busy(path:)`` where somebody holds the bundle's lock.
  @discardableResult
  public func heal() throws(ConfigError) -> BundleEdit.Healing {
    let record: FileStatus?
    do throws(SystemError) {
      record = try directory.status(of: BundleEdit.record)
    } catch { throw located(error) }
    if record == nil { return .nothing }
    return try BundleEdit(holding: try lock(0), path: path).putBack()
  }

  /// A descriptor of its own of the directory, with the lock on it.
  ///
  /// flock(2) cannot be told how long to wait, so it is asked again every 2 ms.
  private func lock(_ timeout: Nanoseconds) throws(ConfigError) -> FileDescriptor {
    do throws(SystemError) {
      let end = monotonicNow() + timeout
      let lock = try directory.open(".", O_RDONLY | O_DIRECTORY)
      while true {
        if try lock.lock(wait: false) { return lock }
        if monotonicNow() >= end { break }
        var pause = timespec(tv_sec: 0, tv_nsec: 2_000_000)
        nanosleep(&pause, nil)
      }
    } catch { throw located(error) }
    throw .busy(path: path)
  }

  private func located(_ error: SystemError) -> ConfigError {
    .system(SystemError(error.step, "the bundle \(path)", errno: error.errno))
  }
}

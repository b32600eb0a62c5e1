// SPDX-License-Identifier: Apache-2.0
internal import Glibc
public import Syscalls

/// An OCI bundle: a directory with a config.json.
public struct Bundle: ~Copyable, Sendable {
  /// The directory as it was named, for messages.
  public let path: String
  /// The open directory.
  public let directory: FileDescriptor

  /// Opens a bundle's directory.
  ///
  /// - Parameter path: The directory, in whatever bytes the caller wrote it; a relative path is
  ///   taken from the working directory.
  /// - Throws: ``ConfigError/system(_:)`` with open's errno.
  public init(_ path: UnsafePointer<CChar>) throws(ConfigError) {
    self.path = String(cString: path)
    do throws(SystemError) {
      directory = try FileDescriptor.open(path, O_RDONLY | O_DIRECTORY)
    } catch {
      throw .system(SystemError(error.step, "the bundle \(self.path)", errno: error.errno))
    }
  }

  /// Reads config.json whole, as it is now.
  ///
  /// Read, not mapped: a file that somebody truncates while it is mapped kills its reader with
  /// SIGBUS.
  ///
  /// - Throws: ``ConfigError/system(_:)`` where it is missing or unreadable, and
  ///   ``ConfigError/notAFile(path:)`` where it is something else than a file, which is not read.
  public func config() throws(ConfigError) -> [UInt8] {
    let name = "\(path)/\(BundleEdit.config)"
    do throws(SystemError) {
      // Not to hang on a pipe; a regular file does not know the difference.
      let file = try directory.open(BundleEdit.config, O_RDONLY | O_NONBLOCK | O_NOCTTY)
      if try file.status().isRegularFile { return try file.readAll() }
    } catch { throw .system(SystemError(error.step, name, errno: error.errno)) }
    throw .notAFile(path: name)
  }
}

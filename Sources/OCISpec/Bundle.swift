// SPDX-License-Identifier: Apache-2.0
internal import Glibc
package import Syscalls

/// An OCI bundle: a directory with a config.json, or with the file that crun's `--config` names.
package struct Bundle: ~Copyable, Sendable {
  /// The longest config that is read, in bytes.
  static let largestConfig = 256 << 20

  /// The directory as it was named, for messages.
  package let path: String
  /// The open directory.
  package let directory: FileDescriptor
  /// The config, and what lies beside it while it is edited.
  let names: BundleNames

  /// Opens a bundle's directory.
  ///
  /// - Parameter path: The directory, in whatever bytes the caller wrote it; a relative path is
  ///   taken from the working directory.
  /// - Throws: ``ConfigError/system(_:)`` with open's errno.
  package init(_ path: UnsafePointer<CChar>) throws(ConfigError) {
    try self.init(directory: path, named: String(cString: path), BundleNames())
  }

  /// Opens the directory of a config that has a name and a place of its own.
  ///
  /// - Parameter config: The file; a relative path is taken from the working directory.
  /// - Throws: ``ConfigError/system(_:)`` with open's errno; EILSEQ for a name that is not UTF-8.
  package init(config: UnsafePointer<CChar>) throws(ConfigError) {
    guard let file = String(validatingCString: config) else {
      throw .system(SystemError("open", String(cString: config), errno: EILSEQ))
    }
    let slash = file.utf8.lastIndex(of: UInt8(ascii: "/"))
    let parent = slash.map { String(Substring(file.utf8[...$0])) } ?? "."
    try self.init(directory: parent, named: parent, BundleNames(of: file))
  }

  private init(
    directory: UnsafePointer<CChar>, named path: String, _ names: BundleNames
  ) throws(ConfigError) {
    do throws(SystemError) {
      self.directory = try FileDescriptor.open(directory, O_RDONLY | O_DIRECTORY)
    } catch {
      throw .system(SystemError(error.step, "the bundle \(path)", errno: error.errno))
    }
    self.path = path
    self.names = names
  }

  /// Reads the config whole, as it is now.
  ///
  /// Read, not mapped: a file that another process truncates while it is mapped kills its reader
  /// with SIGBUS.
  ///
  /// - Throws: ``ConfigError/system(_:)`` where it is missing, unreadable or too long, and
  ///   ``ConfigError/notAFile(path:)`` for a device, a FIFO or a socket, which is not read.
  package func config() throws(ConfigError) -> [UInt8] {
    let name = "\(path)/\(names.config)"
    do throws(SystemError) {
      // Not to hang on a pipe; a regular file does not know the difference.
      let file = try directory.open(names.config, O_RDONLY | O_NONBLOCK | O_NOCTTY)
      let status = try file.status()
      // A directory says EISDIR to its reader.
      if status.isRegularFile || status.isDirectory {
        return try file.readAll(limit: Self.largestConfig)
      }
    } catch { throw .system(SystemError(error.step, name, errno: error.errno)) }
    throw .notAFile(path: name)
  }
}

/// The names in a bundle that an edit uses.
struct BundleNames: Sendable {
  var config = "config.json"

  init() {}

  /// The names beside a file, which may have directories before its own name; nil is config.json.
  init(of path: String?) {
    guard let path else { return }
    let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")).map { path.utf8.index(after: $0) }
    config = String(Substring(path.utf8[(slash ?? path.utf8.startIndex)...]))
  }

  /// The record of the edit; its flock(2) is the right to edit.
  var record: String { ".\(config).escra-edit" }
  /// The original, by link(2).
  var original: String { ".\(config).escra-orig" }
  /// The edited bytes, until they are renamed to the config's name.
  var fresh: String { ".\(config).escra-new" }
  /// The original, while it is copied.
  var copy: String { ".\(config).escra-orig-new" }
}

// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Glibc
internal import Quantities
package import Syscalls

/// Where supervised containers are known: /run/escra, on a tmpfs, so that a boot forgets it.
///
/// `containers/KEY/NONCE/` belongs to one instance of one container. KEY is a hash of the
/// runtime's root and the id, because the id alone is unique in neither; NONCE tells this
/// instance from the one that had the same id 0.1 s ago. The process that holds the flock(2) on the
/// NONCE directory is its supervisor, and only the holder removes it.
package struct StateRoot: Sendable {
  /// The directory everything is below.
  package let path: String

  /// The machine's own.
  package static let system = StateRoot(path: "/run/escra")

  /// A root somewhere else, for tests.
  package init(path: String) { self.path = path }

  /// The root that an instance's directory is in: ROOT/containers/KEY/NONCE.
  package init(ofInstance path: String) {
    let parts = path.split(separator: "/", omittingEmptySubsequences: false)
    self.init(path: parts.dropLast(3).joined(separator: "/"))
  }

  /// The keeper's directory; the process that holds the flock(2) on it is the keeper.
  package var keeper: String { path + "/keeper" }
  /// The node agent's directory; the process that holds the flock(2) on it is the node's agent.
  package var agent: String { path + "/agent" }

  /// A runtime's `--root` as it is known by: absolute, and one however it is spelt.
  ///
  /// By its words alone, as runc does (Go's filepath.Abs): a symbolic link is another root to it.
  package static func runtimeRoot(_ text: String) -> String {
    // A shim asks for it several times, and nearly always it is spelt like that.
    if isClean(text) { return text }
    var parts: [Substring] = []
    for part in absolutePath(text).split(separator: "/") where part != "." {
      if part != ".." { parts.append(part) } else if !parts.isEmpty { parts.removeLast() }
    }
    return "/" + parts.joined(separator: "/")
  }

  /// Whether a path is absolute, and none of its parts is empty or begins with a dot.
  private static func isClean(_ text: String) -> Bool {
    var isStart = false
    for (index, byte) in text.utf8.enumerated() {
      let isSlash = byte == UInt8(ascii: "/")
      if index == 0 ? !isSlash : isStart && (isSlash || byte == UInt8(ascii: ".")) { return false }
      isStart = isSlash
    }
    return !isStart && !text.isEmpty
  }

  /// Where container directories are.
  package var containers: String { path + "/containers" }

  /// The directory that all instances of one container share.
  ///
  /// - Parameters:
  ///   - root: The runtime's `--root`, absolute.
  ///   - id: The container's id.
  /// - Returns: A path whether or not it exists.
  package func directory(root: String, id: String) -> String {
    var hash = FNV1a()
    hash.add(root.utf8)
    hash.add(0)
    hash.add(id.utf8)
    return containers + "/" + hash.digits
  }

  /// Makes sure that what is in here can be looked at; that nothing is here is no error.
  ///
  /// Who supervises goes on with what ``instances()`` finds, and a person has to be told instead.
  ///
  /// - Throws: ``SystemError``: EACCES for any user but root.
  package func checkAccess() throws(SystemError) {
    for directory in [containers, applications] {
      do throws(SystemError) { _ = try Self.names(in: directory) } catch {
        throw SystemError("read", directory, errno: error.errno)
      }
    }
  }

  /// All instances there are, as paths of NONCE directories.
  package func instances() -> [String] { (try? allInstances()) ?? [] }

  /// The same for who does something about those that are not among them, and has to know of all.
  ///
  /// - Throws: ``SystemError``; EMFILE where there is no descriptor to look with.
  package func allInstances() throws(SystemError) -> [String] {
    var found: [String] = []
    for key in try Self.names(in: containers) {
      let directory = containers + "/" + key
      for name in try Self.names(in: directory) { found.append(directory + "/" + name) }
    }
    return found
  }

  /// The nonces of ``allInstances()``.
  package func nonces() throws(SystemError) -> Set<UInt64> {
    Set(
      try allInstances().compactMap { path in
        path.split(separator: "/").last.flatMap { ApplicationDirectory.nonce($0) }
      })
  }

  /// What is in a directory, which may go at any time: nothing then.
  private static func names(in directory: String) throws(SystemError) -> [String] {
    do throws(SystemError) {
      return try FileDescriptor.open(directory, O_RDONLY | O_DIRECTORY).entries()
    } catch {
      if error.errno == ENOENT { return [] }
      throw error
    }
  }

  /// Whether there is any; of a thousand the first one says so.
  package var hasInstances: Bool {
    guard let keys = try? Self.names(in: containers) else { return false }
    return keys.contains { !instances(in: containers + "/" + $0).isEmpty }
  }

  /// The instances of one container: other containers may have the same directory, as ids can be made
  /// to have the same hash.
  ///
  /// - Parameters:
  ///   - root: The runtime's `--root`, absolute.
  ///   - id: The container's id.
  /// - Returns: Paths of NONCE directories, also of one that nothing is written down in yet.
  package func instances(root: String, id: String) -> [String] {
    instances(in: directory(root: root, id: id)).filter { path in
      guard let state = StateDirectory.load(at: path) else { return true }
      return state.root == root && state.id == id
    }
  }

  /// What is in the directory of one container.
  ///
  /// - Parameter directory: What ``directory(root:id:)`` returned.
  /// - Returns: Paths of NONCE directories; empty when the container is not supervised.
  package func instances(in directory: String) -> [String] {
    guard let names = try? Self.names(in: directory) else { return [] }
    return names.map { directory + "/" + $0 }
  }
}

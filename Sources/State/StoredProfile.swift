// SPDX-License-Identifier: Apache-2.0
package import Control
internal import Glibc
internal import Quantities
package import Syscalls

/// A profile as it is stored, for people and their tools.
package struct StoredProfile {
  /// What it is called.
  package let name: String
  /// The Kubernetes namespace; nil outside of Kubernetes.
  package let namespace: String?
  /// The runtime's `--root`.
  package let root: String
  /// Its directory.
  package let path: String
  /// Its records, in the order in which they were written.
  package let records: [RunRecord]
  /// Whether some of its bytes are no record.
  package let isDamaged: Bool
  /// The files of its traces, the newest last.
  package let traces: [String]

  /// Reads a profile's directory; nil if there is none.
  package init?(path: String) {
    guard let profile = FileDescriptor.openIfPossible(path, O_RDONLY | O_DIRECTORY),
      let bytes = profile.openIfPossible(
        HistoryStore.nameFile, O_RDONLY | O_NONBLOCK | O_NOFOLLOW)?
        .bytesIfReadable(limit: 65536)
    else { return nil }
    let keyed = KeyValueText(String(decoding: bytes, as: UTF8.self))
    // What cannot be listed cannot be read either.
    guard let name = keyed["name"], let names = try? profile.entries() else { return nil }
    self.name = name
    namespace = keyed["namespace"]
    root = keyed["root"] ?? ""
    self.path = path
    var records: [RunRecord] = []
    var isDamaged = false
    for number in HistoryStore.segments(in: names) {
      let found = HistoryStore.records(of: "\(number)", in: profile)
      records += found.records
      isDamaged = isDamaged || found.isDamaged
    }
    (self.records, self.isDamaged) = (records, isDamaged)
    let traces = names.filter { $0.utf8.starts(with: HistoryStore.tracePrefix.utf8) }.compactMap {
      name in profile.statusIfThere(of: name).map { (name, $0.modified) }
    }
    self.traces = traces.sorted { $0.1 < $1.1 }.map { path + "/" + $0.0 }
  }

  /// Whether a run is among its records.
  func has(_ nonce: UInt64) -> Bool { records.contains { $0.nonce == nonce } }

  /// Its runs, each from its last records, in the order in which they began.
  package var runs: [Run] { Run.all(of: records) }

  /// Removes it; a container that is being recorded leaves no record any more.
  ///
  /// - Throws: ``SystemError``.
  package func forget() throws(SystemError) {
    let profile = try FileDescriptor.open(path, O_RDONLY | O_DIRECTORY)
    for name in try profile.entries() { try profile.remove(name) }
    try retrying("remove", path) { rmdir(path) }
  }
}

extension HistoryStore {
  /// All profiles, by name.
  ///
  /// - Throws: ``SystemError``: EACCES for other users than root.
  package func profiles() throws(SystemError) -> [StoredProfile] {
    let keys: [String]
    do throws(SystemError) {
      keys = try FileDescriptor.open(path, O_RDONLY | O_DIRECTORY).subdirectories()
    } catch {
      if error.errno == ENOENT { return [] }
      throw error
    }
    return keys.compactMap { StoredProfile(path: path + "/" + $0) }
      .sorted { ($0.name, $0.namespace ?? "", $0.root) < ($1.name, $1.namespace ?? "", $1.root) }
  }
}

// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import Syscalls

/// What the groups that were narrowed for strict containers had before: /run/escra/cpus/neighbours.
///
/// A set that the kernel holds and that is none of those we wrote was written by somebody else, and
/// is what its group declares now. So what is about to be written is written down before, and the
/// crash between the two loses nothing.
struct NeighbourRecord: Equatable {
  var neighbours: [Neighbour] = []
  /// Sets that may have been written since, by inode.
  var pending: [UInt64: [CPUSet]] = [:]

  static let file = "neighbours"

  /// What is remembered, seen with what the groups have now: a set that was about to be written
  /// when its writer died, and was, is ours.
  func reconciled(with groups: [CpusetGroup]) -> [Neighbour] {
    neighbours.map { neighbour in
      guard let group = groups.first(where: { $0.inode == neighbour.inode }),
        pending[neighbour.inode, default: []].contains(group.cpus)
      else { return neighbour }
      return Neighbour(
        inode: neighbour.inode, declared: neighbour.declared, applied: group.cpus)
    }
  }

  /// Reads the file's text; nil where it is torn.
  init?(text: String) {
    let lines = text.split(at: "\n")
    guard let last = lines.last, let sum = Self.sum(lines.dropLast()), last == "sum \(sum)" else {
      return nil
    }
    for line in lines.dropLast() {
      let words = line.split(at: " ", omittingEmptySubsequences: false)
      guard words.count >= 3, let inode = UInt64(words[0]),
        let declared = CPUSet(list: String(words[1])), let applied = CPUSet(list: String(words[2]))
      else { return nil }
      neighbours.append(Neighbour(inode: inode, declared: declared, applied: applied))
      for word in words.dropFirst(3) {
        guard let set = CPUSet(list: String(word)) else { return nil }
        pending[inode, default: []].append(set)
      }
    }
  }

  init() {}

  /// One line a group, `INODE DECLARED APPLIED PENDING…`, and a checksum.
  var text: String {
    let lines = neighbours.map { neighbour in
      (["\(neighbour.inode)", neighbour.declared.description, neighbour.applied.description]
        + pending[neighbour.inode, default: []].map(\.description)).joined(separator: " ")
    }
    return lines.map { $0 + "\n" }.joined()
      + "sum \(Self.sum(lines.map { Substring($0) }[...]) ?? "")\n"
  }

  private static func sum(_ lines: ArraySlice<Substring>) -> String? {
    var hash = FNV1a()
    for line in lines {
      hash.add(line.utf8)
      hash.add(10)
    }
    return hash.digits
  }
}

extension CPURegistry {
  /// What is written down of the narrowed groups; nil where it is missing or torn.
  func loadNeighbours() -> NeighbourRecord? {
    guard let file = try? directory.open(NeighbourRecord.file, O_RDONLY),
      let bytes = try? file.readAll(limit: 16 << 20)
    else { return nil }
    return NeighbourRecord(text: String(decoding: bytes, as: UTF8.self))
  }

  /// Replaces it as a whole; a record of nothing is no file.
  func save(_ record: NeighbourRecord) throws(SystemError) {
    if record == NeighbourRecord() { return try directory.remove(NeighbourRecord.file) }
    let temporary = ".neighbours"
    do {
      let file = try directory.open(temporary, O_WRONLY | O_CREAT | O_TRUNC)
      try file.write(record.text)
    }
    try directory.rename(temporary, to: NeighbourRecord.file)
  }
}

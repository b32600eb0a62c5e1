// SPDX-License-Identifier: Apache-2.0
internal import CPUSets
internal import Glibc
internal import Quantities
internal import Syscalls

/// What the groups that were narrowed for strict containers had before: /run/escra/cpus/neighbours.
///
/// A set that the kernel holds and that is none of those we wrote was written by another process,
/// and is what its group declares now. So what is about to be written is written down before, and
/// the crash between the two loses nothing.
struct NeighbourRecord: Equatable {
  var neighbours: [Neighbour] = []
  /// Sets that may have been written since, by inode.
  var pending: [UInt64: [CPUSet]] = [:]
  /// Which exclusive CPUs of cgroup v2 are there for the sake of strict containers, by inode.
  var lent: [UInt64: CPUSet] = [:]
  /// Whether there is to be a file at all: while there are strict containers, one that is missing
  /// was lost.
  var isKept = true

  static let file = "neighbours"

  /// The record as it must stand while a plan is carried out.
  init(_ plan: FencePlan, _ groups: [CpusetGroup], isKept: Bool) {
    neighbours = plan.neighbours
    for write in plan.writes {
      guard let group = groups.first(where: { $0.path == write.path }) else { continue }
      pending[group.inode, default: [group.cpus]].append(write.cpus)
    }
    self.isKept = isKept || !neighbours.isEmpty || !pending.isEmpty
  }

  /// The record as it must stand while a plan for cgroup v2 is carried out.
  init(_ plan: UnifiedPlan, _ groups: [UnifiedGroup], isKept: Bool) {
    neighbours = plan.neighbours
    lent = plan.lent
    for write in plan.writes {
      guard case .cpus(let cpus) = write.value,
        let group = groups.first(where: { $0.path == write.path })
      else { continue }
      pending[group.inode, default: [group.cpus]].append(cpus)
    }
    self.isKept = isKept || !neighbours.isEmpty || !pending.isEmpty || !lent.isEmpty
  }

  /// The record as it must have been on cgroup v2.
  ///
  /// A group that has just what is shared, and whose container declared nothing that is known, had no
  /// set of its own.
  init(
    rebuiltFrom groups: [UnifiedGroup], holders: [StrictOwner], declared: (String) -> CPUSet?
  ) {
    let shared = holders.reduce(groups.first?.cpus ?? CPUSet()) { $0.subtracting($1.cpus) }
    for group in groups.dropFirst() {
      let inside = holders.filter {
        $0.has(path: group.path, inode: group.inode) || $0.path.isGroup(below: group.path)
      }
      let held = inside.reduce(CPUSet()) { $0.union($1.cpus) }
      let lent = held.intersection(group.exclusive ?? CPUSet())
      if !lent.isEmpty { self.lent[group.inode] = lent }
      if !inside.isEmpty || group.cpus.isEmpty { continue }
      let set = declared(group.path) ?? (group.cpus == shared ? CPUSet() : group.cpus)
      if set != group.cpus {
        neighbours.append(Neighbour(inode: group.inode, declared: set, applied: group.cpus))
      }
    }
  }

  /// The record as it must have been, by what the low-level runtimes know.
  ///
  /// - Parameters:
  ///   - groups: What there is, parents before children.
  ///   - holders: The strict containers.
  ///   - declared: The set that a group's container declared; nil where that is not known.
  init(
    rebuiltFrom groups: [CpusetGroup], holders: [StrictOwner], declared: (String) -> CPUSet?
  ) {
    var wide: [String: CPUSet] = [:]
    for group in groups {
      let parent = wide[group.parent] ?? group.cpus
      let isOwn = group.path == "/" || !group.hasProcesses || holders.contains { $0.has(group) }
      let set = isOwn ? group.cpus : declared(group.path) ?? parent
      wide[group.path] = set
      if set != group.cpus {
        neighbours.append(Neighbour(inode: group.inode, declared: set, applied: group.cpus))
      }
    }
  }

  /// What is remembered, seen with what the groups have now: a set that was about to be written
  /// when its writer died, and was, is ours.
  func reconciled(with groups: [CpusetGroup]) -> [Neighbour] {
    reconciled { inode in groups.first { $0.inode == inode }?.cpus }
  }

  /// The same on cgroup v2.
  func reconciled(with groups: [UnifiedGroup]) -> [Neighbour] {
    reconciled { inode in groups.first { $0.inode == inode }?.cpus }
  }

  private func reconciled(_ found: (UInt64) -> CPUSet?) -> [Neighbour] {
    neighbours.map { neighbour in
      guard let cpus = found(neighbour.inode),
        pending[neighbour.inode, default: []].contains(cpus)
      else { return neighbour }
      return Neighbour(inode: neighbour.inode, declared: neighbour.declared, applied: cpus)
    }
  }

  /// Reads the file's text; nil where it is torn.
  init?(text: String) {
    let lines = text.split(at: "\n")
    guard let last = lines.last, last == "sum \(Self.sum(lines.dropLast()))" else { return nil }
    for line in lines.dropLast() {
      var words = line.split(at: " ", omittingEmptySubsequences: false)
      let isLent = words.first == Self.lentMark
      if isLent { words.removeFirst() }
      guard words.count >= (isLent ? 2 : 3), let inode = UInt64(words[0]) else { return nil }
      let sets = words.dropFirst().compactMap { CPUSet(list: String($0)) }
      guard sets.count == words.count - 1 else { return nil }
      if isLent {
        lent[inode] = sets[0]
        continue
      }
      neighbours.append(Neighbour(inode: inode, declared: sets[0], applied: sets[1]))
      if sets.count > 2 { pending[inode] = Array(sets[2...]) }
    }
  }

  init() {}

  private static let lentMark: Substring = "lent"

  /// One line a group, `INODE DECLARED APPLIED PENDING…` or `lent INODE CPUS`, and a checksum.
  var text: String {
    var lines = neighbours.map { neighbour in
      let sets = [neighbour.declared, neighbour.applied] + pending[neighbour.inode, default: []]
      return Substring("\(neighbour.inode) " + sets.map(\.description).joined(separator: " "))
    }
    for (inode, cpus) in lent.sorted(by: { $0.key < $1.key }) {
      lines.append("\(Self.lentMark) \(inode) \(cpus)")
    }
    return lines.map { $0 + "\n" }.joined() + "sum \(Self.sum(lines[...]))\n"
  }

  private static func sum(_ lines: ArraySlice<Substring>) -> String {
    var hash = FNV1a()
    for line in lines {
      hash.add(line.utf8)
      hash.add(10)
    }
    return hash.digits
  }
}

extension CPURegistry {
  /// Whether there is a file of them, torn or not.
  var hasNeighbours: Bool { directory.statusIfThere(of: NeighbourRecord.file) != nil }

  /// What is written down of the narrowed groups; nil where it is missing or torn.
  func loadNeighbours() -> NeighbourRecord? {
    guard let file = directory.openIfPossible(NeighbourRecord.file, O_RDONLY),
      let bytes = file.bytesIfReadable(limit: 16 << 20)
    else { return nil }
    return NeighbourRecord(text: String(decoding: bytes, as: UTF8.self))
  }

  /// Replaces it as a whole.
  func save(_ record: NeighbourRecord) throws(SystemError) {
    guard record.isKept else { return try directory.remove(NeighbourRecord.file) }
    let temporary = ".neighbours"
    do {
      let file = try directory.open(temporary, O_WRONLY | O_CREAT | O_TRUNC)
      try file.write(record.text)
    }
    try directory.rename(temporary, to: NeighbourRecord.file)
  }
}

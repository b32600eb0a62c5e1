// SPDX-License-Identifier: Apache-2.0
internal import Cgroups
internal import Control
internal import Glibc
internal import Quantities
internal import State
internal import Syscalls

/// The weights and protections of a container's own group, which the group of ours around it carries:
/// the kernel compares groups that are beside each other, and those are ours.
struct GroupWeights {
  /// One file of both groups.
  private final class Pair {
    let inner: FileDescriptor
    let outer: FileDescriptor

    init(_ inner: consuming FileDescriptor, _ outer: consuming FileDescriptor) {
      self.inner = inner
      self.outer = outer
    }

    /// Writes what the container's own group has; the kernel takes one line of io.weight at once.
    func carry() {
      guard let wanted = try? inner.contents(subject: "a weight"),
        let found = try? outer.contents(subject: "a weight"), wanted != found
      else { return }
      for line in wanted.split(at: "\n") {
        try? outer.overwrite(String(line), subject: "a weight")
      }
    }
  }

  /// Where a container's group and the one around it are in one hierarchy.
  struct Directories {
    let inner: String
    let outer: String
  }

  /// Writes in groups around a container's own what those have.
  fileprivate static func carry(_ hierarchies: [Directories]) {
    for (file, _, _) in places {
      for directories in hierarchies {
        guard let from = try? FileDescriptor.open(directories.inner + "/" + file, O_RDONLY),
          let to = try? FileDescriptor.open(directories.outer + "/" + file, O_RDWR)
        else { continue }
        Pair(from, to).carry()
      }
    }
  }

  fileprivate static var names: [String] { places.map(\.name) }

  /// The files, and where both are: an idle group takes no weight, so that comes first.
  private static let places: [(name: String, inner: ReexecState.Place, outer: ReexecState.Place)] =
    [
      ("cpu.idle", .ownCPUIdle, .cpuIdle), ("cpu.weight", .ownCPUWeight, .cpuWeight),
      ("cpu.shares", .ownCPUWeight, .cpuWeight), ("io.weight", .ownIOWeight, .ioWeight),
      ("blkio.bfq.weight", .ownIOWeight, .ioWeight), ("memory.low", .ownMemoryLow, .memoryLow),
      ("memory.min", .ownMemoryMin, .memoryMin),
    ]

  private let pairs: [Pair]

  /// Opens the files of both groups, as far as they have them.
  ///
  /// - Parameters:
  ///   - hierarchies: The groups.
  ///   - watch: Reports each write to one of them: systemd writes what it knows of a slice.
  /// - Returns: The descriptors by place.
  static func open(
    _ hierarchies: [Directories], _ watch: borrowing WriteWatch
  ) -> [ReexecState.Place: Int32] {
    var files: [ReexecState.Place: Int32] = [:]
    for (name, own, ours) in places where files[own] == nil {
      for directories in hierarchies {
        guard let from = try? FileDescriptor.open(directories.inner + "/" + name, O_RDONLY),
          let to = try? FileDescriptor.open(directories.outer + "/" + name, O_RDWR)
        else { continue }
        watch.add(writesTo: from)
        watch.add(writesTo: to)
        files[own] = from.release()
        files[ours] = to.release()
        break
      }
    }
    return files
  }

  /// Takes over what the finding image has opened.
  init(_ handover: ReexecState) {
    self.init { handover.take($0) }
  }

  /// Takes over open files.
  ///
  /// - Parameter take: Gives the file of a place away; ``FileDescriptor/none`` for one that is empty.
  init(_ take: (ReexecState.Place) -> FileDescriptor) {
    var last: ReexecState.Place?
    pairs = Self.places.compactMap { place in
      // A name of cgroup v1 has the place of the name of cgroup v2 before it.
      if place.inner == last { return nil }
      last = place.inner
      let inner = take(place.inner)
      let outer = take(place.outer)
      return inner.isOpen && outer.isOpen ? Pair(inner, outer) : nil
    }
    carry()
  }

  /// Makes the weights of both groups the same.
  func carry() { for pair in pairs { pair.carry() } }
}

/// The group of ours around a container's own, while the low-level runtime makes that one: the first
/// limits and the weights hold at the first instruction.
///
/// systemd, asked for a scope in it, writes the most that it was told.
final class FirstOuter {
  let watch = FileWatch.ifAvailable()
  private let hierarchies: [GroupWeights.Directories]
  /// The group whose limits move.
  private let outer: String
  private var limits: [(name: String, text: String)] = []

  /// Starts to listen; nil for a container that has one group.
  init?(_ state: ContainerState) {
    guard let mounts = try? FileDescriptor.text(of: "/proc/self/mountinfo"),
      let path = state.cgroupPath, let location = CgroupLocation(group: path, mounts: mounts)
    else { return nil }
    hierarchies = state.outerHierarchies(location)
    guard let outer = hierarchies.last?.outer, (try? watch.addChildren(of: outer)) != nil else {
      return nil
    }
    self.outer = outer
    // The low-level runtime makes those of cgroup v1 on its way to the container's own.
    for directories in hierarchies.dropLast() { _ = mkdir(directories.outer, 0o755) }
    for directories in hierarchies.dropLast() { try? watch.addChildren(of: directories.outer) }
    for name in ["cpu.max", "memory.max"] {
      try? watch.addWrites(toFile: outer + "/" + name)
      keep(name)
    }
  }

  /// Writes what an application has granted: no process is in the group yet.
  ///
  /// - Parameters:
  ///   - cpu: The CPU limit; cgroup v1 has it in the container's own group.
  ///   - memory: The memory limit in bytes; nil where that is left alone.
  ///   - swap: The limit of memory and swap together, on cgroup v1.
  /// - Throws: ``SystemError``.
  func limit(_ cpu: CFSBandwidth, _ memory: Int64?, swap: Int64?) throws(SystemError) {
    let isLegacy = limits.isEmpty
    if !isLegacy {
      try FileDescriptor.open(outer + "/cpu.max", O_WRONLY).overwrite(
        cpu.cpuMax, subject: "cpu.max")
      keep("cpu.max")
    }
    if let memory {
      let writer = try MemoryWriter(
        directory: outer, version: isLegacy ? .v1 : .v2, readOnly: false)
      try writer.set(memory, swap: swap) { 0 }
      if !isLegacy { keep("memory.max") }
    }
  }

  private func keep(_ name: String) {
    limits.removeAll { $0.name == name }
    if let text = try? FileDescriptor.text(of: outer + "/" + name) { limits.append((name, text)) }
  }

  /// The container's own group was made, or another process has written a file.
  func look() {
    watch.drain()
    for directories in hierarchies {
      for name in GroupWeights.names {
        try? watch.addWrites(toFile: directories.inner + "/" + name)
      }
    }
    GroupWeights.carry(hierarchies)
    for (name, text) in limits where (try? FileDescriptor.text(of: outer + "/" + name)) != text {
      bringBack(name, text)
    }
  }

  private func bringBack(_ name: String, _ text: String) {
    if name == "memory.max", let limit = MemoryWriter.limit(text), limit < MemoryLimit.unlimited {
      // Less than what is used would be a kill.
      let writer = try? MemoryWriter(directory: outer, version: .v2, readOnly: false)
      let usage = outer + "/memory.current"
      try? writer?.set(limit, swap: nil) { () throws(SystemError) in
        try FileDescriptor.open(usage, O_RDONLY).integer(subject: usage) ?? .max
      }
    } else if let file = try? FileDescriptor.open(outer + "/" + name, O_WRONLY) {
      try? file.overwrite(text, subject: name)
    }
  }
}

extension ContainerState {
  /// Where its own group and the one around it are in each hierarchy that has weights; that with the
  /// limits that move is the last one.
  ///
  /// - Parameter location: Where the group is that ``cgroupPath`` names.
  /// - Returns: None for a container that has one group.
  func outerHierarchies(_ location: CgroupLocation) -> [GroupWeights.Directories] {
    if let inner = inner(in: location.cpu) {
      return [GroupWeights.Directories(inner: inner, outer: location.cpu)]
    }
    guard memoryInnerName != nil else { return [] }
    return [location.cpu, location.blkio, location.memory].compactMap(\.self).map { path in
      GroupWeights.Directories(inner: path, outer: CgroupLocation.parent(path))
    }
  }
}

/// The outer group of a strict container: others write its weights and limits.
final class StrictOuterGroup {
  /// Reports writes.
  let watch: WriteWatch
  /// The weights of both groups.
  let weights: GroupWeights

  /// Opens the files; nil for a container that has one group.
  init?(_ state: ContainerState) {
    guard let inner = state.innerDirectory, let outer = state.cpuDirectory,
      let limit = try? FileDescriptor.open(inner + "/memory.max", O_RDONLY),
      let moving = try? FileDescriptor.open(outer + "/memory.max", O_RDONLY),
      let watch = try? WriteWatch(on: limit, and: moving)
    else { return nil }
    var files = GroupWeights.open([.init(inner: inner, outer: outer)], watch)
    weights = GroupWeights { FileDescriptor(owning: files.removeValue(forKey: $0) ?? -1) }
    self.watch = watch
  }
}

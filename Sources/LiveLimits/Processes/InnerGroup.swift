// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import Hooks
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

  /// Writes in a group around a container's own what that one has.
  ///
  /// - Parameters:
  ///   - inner: The container's own group.
  ///   - outer: The group around it.
  fileprivate static func carry(from inner: String, to outer: String) {
    for (name, _, _) in places {
      guard let from = try? FileDescriptor.open(inner + "/" + name, O_RDONLY),
        let to = try? FileDescriptor.open(outer + "/" + name, O_RDWR)
      else { continue }
      Pair(from, to).carry()
    }
  }

  fileprivate static var names: [String] { places.map(\.name) }

  /// The files, and where both are: an idle group takes no weight, so that comes first.
  private static let places: [(name: String, inner: Handover.Place, outer: Handover.Place)] = [
    ("cpu.idle", .ownCPUIdle, .cpuIdle), ("cpu.weight", .ownCPUWeight, .cpuWeight),
    ("io.weight", .ownIOWeight, .ioWeight), ("memory.low", .ownMemoryLow, .memoryLow),
    ("memory.min", .ownMemoryMin, .memoryMin),
  ]

  private let pairs: [Pair]

  /// Opens the files of both groups, as far as they have them.
  ///
  /// - Parameters:
  ///   - inner: The container's own group.
  ///   - outer: The group around it.
  ///   - watch: Reports each write to the container's own.
  /// - Returns: The descriptors by place.
  static func open(
    _ inner: String, _ outer: String, _ watch: borrowing WriteWatch
  ) -> [Handover.Place: Int32] {
    var files: [Handover.Place: Int32] = [:]
    for (name, own, ours) in places {
      guard let from = try? FileDescriptor.open(inner + "/" + name, O_RDONLY),
        let to = try? FileDescriptor.open(outer + "/" + name, O_RDWR)
      else { continue }
      watch.add(writesTo: from)
      files[own] = from.release()
      files[ours] = to.release()
    }
    return files
  }

  /// Takes over what the finding image has opened.
  init(_ handover: Handover) {
    pairs = Self.places.compactMap { place in
      handover.has(place.inner) && handover.has(place.outer)
        ? Pair(handover.take(place.inner), handover.take(place.outer)) : nil
    }
    carry()
  }

  /// Makes the weights of both groups the same.
  func carry() { for pair in pairs { pair.carry() } }
}

/// Carries the weights while the low-level runtime makes the container's own group, so that they hold
/// at the first instruction.
final class FirstWeights {
  let watch = FileWatch.ifAvailable()
  private let inner: String
  private let outer: String

  /// Starts to listen; nil for a container that has one group.
  init?(_ state: ContainerState) {
    guard state.innerName != nil, let path = state.cgroupPath,
      let mounts = try? FileDescriptor.text(of: "/proc/self/mountinfo"),
      let outer = CgroupLocation(group: path, mounts: mounts)?.cpu,
      let inner = state.inner(in: outer), (try? watch.addChildren(of: outer)) != nil
    else { return nil }
    self.inner = inner
    self.outer = outer
  }

  /// The group was made, or one of its weights was written.
  func look() {
    watch.drain()
    for name in GroupWeights.names { try? watch.addWrites(toFile: inner + "/" + name) }
    GroupWeights.carry(from: inner, to: outer)
  }
}

/// What a supervisor does with what others write into the container's own group, if the group whose
/// limits move is around it.
extension Supervision {
  /// Takes the limit of the container's own group, where another process has written it, as the one
  /// that is declared: an update is the engine's business.
  ///
  /// - Returns: Whether it was another one than before.
  func takeInner() -> Bool {
    weights.carry()
    guard let found = (try? attachment.writer.inner()) ?? nil else { return false }
    let before = base.declared
    let isNew = base.takeInner(found) { limit throws(SystemError) in
      try attachment.writer.raiseInner(to: limit)
    }
    guard isNew else { return false }
    // What changes with it is found by comparison.
    base.declared = before
    rebase(to: found, rule: .update, writer: heard.last)
    heard = HeardWriters()
    nextCorrection = nil
    let wanted = base.limit(of: controller.quota)
    if (try? setLimit(wanted, from: foreign.ours)) != nil {
      foreign.wrote(wanted)
      // A runtime writes one file after the other.
      overhear()
    }
    return true
  }
}

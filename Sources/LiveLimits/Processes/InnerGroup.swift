// SPDX-License-Identifier: Apache-2.0
internal import Cgroups
internal import Glibc
internal import Quantities
internal import State
internal import Syscalls

extension GroupWeights.Kind {
  /// Where the file of the container's own group is found.
  var ownPlace: ReexecState.Place {
    switch self {
    case .idle: .ownCPUIdle
    case .cpu: .ownCPUWeight
    case .io: .ownIOWeight
    case .memoryLow: .ownMemoryLow
    case .memoryMin: .ownMemoryMin
    }
  }

  /// Where that of the group around it is found.
  var outerPlace: ReexecState.Place {
    switch self {
    case .idle: .cpuIdle
    case .cpu: .cpuWeight
    case .io: .ioWeight
    case .memoryLow: .memoryLow
    case .memoryMin: .memoryMin
    }
  }
}

extension GroupWeights {
  /// Opens the files of both groups, as far as they have them.
  ///
  /// - Returns: The descriptors by place.
  static func open(
    _ hierarchies: [Directories], _ watch: borrowing WriteWatch
  ) -> [ReexecState.Place: Int32] {
    var files: [ReexecState.Place: Int32] = [:]
    open(hierarchies, watch) { kind, inner, outer in
      files[kind.ownPlace] = inner
      files[kind.outerPlace] = outer
    }
    return files
  }

  /// Takes over what the finding image has opened.
  init(_ handover: ReexecState) {
    self.init { kind, isInner in handover.take(isInner ? kind.ownPlace : kind.outerPlace) }
  }
}

extension FirstOuter {
  /// Starts to listen; nil for a container that has one group.
  convenience init?(_ state: ContainerState) {
    guard let mounts = FileDescriptor.textIfReadable(of: "/proc/self/mountinfo"),
      let path = state.cgroupPath, let location = CgroupLocation(group: path, mounts: mounts)
    else { return nil }
    self.init(state.outerHierarchies(location))
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
      let limit = FileDescriptor.openIfPossible(.memoryLimit, of: inner, .v2, O_RDONLY),
      let moving = FileDescriptor.openIfPossible(.memoryLimit, of: outer, .v2, O_RDONLY),
      // Without one its weights stay what they are.
      let watch = try? WriteWatch(on: limit, and: moving)
    else { return nil }
    var files = GroupWeights.open([.init(inner: inner, outer: outer)], watch)
    weights = GroupWeights { kind, isInner in
      let place = isInner ? kind.ownPlace : kind.outerPlace
      return FileDescriptor(owning: files.removeValue(forKey: place) ?? -1)
    }
    self.watch = watch
  }
}

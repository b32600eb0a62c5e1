// SPDX-License-Identifier: Apache-2.0
internal import Application
package import Cgroups
internal import Control
internal import Glibc
internal import Quantities
package import State
internal import Syscalls

extension LimitsAbove {
  /// Takes note of what the maker of a group limits it to whose limit is raised.
  ///
  /// - Returns: Whether it is another limit.
  mutating func follow(_ parent: ParentLimit?) -> Bool {
    guard isRaised, let found = parent?.found, found != limit else { return false }
    limit = found
    return true
  }

  /// Opens the limit of the group right above, for the image that supervises, and has a watch report
  /// each write to it: a kubelet resizes pods in place.
  ///
  /// A limit that is raised is looked at by who raises it.
  ///
  /// - Parameters:
  ///   - resource: Which limit.
  ///   - location: Where the container is.
  ///   - name: What its own group is called.
  ///   - watch: What reports writes to the container's own limits.
  /// - Returns: The files by place.
  func open(
    _ resource: SharedResource, of location: CgroupLocation, named name: String?,
    _ watch: borrowing WriteWatch
  ) -> [ReexecState.Place: Int32] {
    let own = resource == .cpu ? location.cpu : location.memory
    guard group != 0, !isRaised, let own,
      let path = CgroupLocation.parent(of: own, named: name)
    else { return [:] }
    let wanted: [(ReexecState.Place, CgroupFile)] =
      switch resource {
      case .cpu: [(.aboveQuota, .cpuQuota), (.abovePeriod, .cpuPeriod)]
      case .memory: [(.aboveMemory, .memoryLimit)]
      }
    var files: [ReexecState.Place: Int32] = [:]
    for (place, name) in wanted {
      // A limit that cannot be read is no bound; and cgroup v2 has the period in the quota's file.
      guard let file = FileDescriptor.openIfPossible(name, of: path, location.version, O_RDONLY)
      else { continue }
      watch.add(writesTo: file)
      files[place] = file.release()
    }
    return files
  }

  /// Reads them.
  ///
  /// - Parameters:
  ///   - resource: Of which limits.
  ///   - location: Where the container is, or will be.
  ///   - state: The container.
  ///   - isRaised: Whether it raises the limit of its pod.
  ///   - root: Where raised limits are written down.
  init(
    _ resource: SharedResource, of location: CgroupLocation, _ state: ContainerState,
    isRaised: Bool, _ root: StateRoot
  ) {
    self.init()
    self.isRaised = isRaised
    let own = resource == .cpu ? location.cpu : location.memory
    guard let own,
      let path = CgroupLocation.parent(of: own, named: state.cgroupName)
    else { return }
    beyond =
      resource == .cpu
      ? location.ancestorLimit(of: state.cgroupName, besides: path)
      : location.memoryLimit(above: path)
    guard
      let inode = FileDescriptor.openIfPossible(path, O_RDONLY | O_DIRECTORY)?.statusIfKnown?
        .identity.inode
    else { return }
    group = inode
    limit =
      ParentRegistry.sight(of: path, resource, root)?.found
      ?? (resource == .cpu ? location.cpuLimit(of: path) : location.memoryLimit(of: path))
  }
}

extension ContainerState {
  /// Takes note of the limits above its group.
  ///
  /// - Parameters:
  ///   - location: Where that is, or will be.
  ///   - isFound: Whether it is known by now which limits of parents it raises.
  ///   - root: Where raised limits are written down.
  package mutating func findLimits(above location: CgroupLocation, isFound: Bool, _ root: StateRoot)
  {
    let (cpu, bytes) = (raises(.cpu, location, isFound), raises(.memory, location, isFound))
    base.above = LimitsAbove(.cpu, of: location, self, isRaised: cpu, root)
    let above = LimitsAbove(.memory, of: location, self, isRaised: bytes, root)
    memory?.above = above
  }

  /// Whether the limit of its pod is to rise with its own.
  private func raises(
    _ resource: SharedResource, _ location: CgroupLocation, _ isFound: Bool
  ) -> Bool {
    let own = resource == .cpu ? location.cpu : location.memory
    guard resource == .cpu ? raisesPodCPU : raisesPodMemory, let own,
      let path = CgroupLocation.parent(of: own, named: cgroupName),
      CgroupLocation.isPod(path)
    else { return false }
    guard isFound, mayExceedDeclared(resource) else { return true }
    return resource == .cpu ? cpuParent == path : memoryParent == path
  }

  /// Whether it may have more than it declares.
  func mayExceedDeclared(_ resource: SharedResource) -> Bool {
    resource == .cpu
      ? base.ceiling > base.declaredCores ?? .max
      : memory.map { $0.bounds.ceiling > $0.declared ?? .max } ?? false
  }
}

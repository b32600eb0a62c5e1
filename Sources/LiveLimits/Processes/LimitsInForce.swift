// SPDX-License-Identifier: Apache-2.0
internal import CPUSets
internal import Cgroups
internal import Control
internal import Glibc
internal import OCISpec
package import Quantities
package import State
internal import Syscalls

/// What the kernel holds a container to that nobody supervises.
package struct LimitsInForce: Equatable, Sendable {
  /// Its CPU limit; nil where its group is gone.
  package var cpu: CFSBandwidth?
  /// Its memory limit in bytes, ``MemoryLimit/unlimited`` for none; nil where that was never moved.
  package var memory: Int64?
  /// The CPUs it may run on; nil where it never had any of its own.
  package var cpus: CPUSet?

  /// Makes them from their parts.
  package init(cpu: CFSBandwidth? = nil, memory: Int64? = nil, cpus: CPUSet? = nil) {
    self.cpu = cpu
    self.memory = memory
    self.cpus = cpus
  }

  /// Reads them.
  ///
  /// - Parameter state: The container, found once.
  package init(of state: ContainerState) {
    // The memory files have no inode to be known by; they are there as long as its group is.
    guard let group = try? state.cpuWriter(readOnly: true) else { return }
    cpu = try? group.current()
    // A container that ends meanwhile has none.
    if state.memory != nil, let files = try? state.memoryWriter(readOnly: true) {
      memory = try? files.current()
    }
    if let claim = state.claim, let tree = CpusetTree.ofMachine() {
      cpus = tree.cpus(of: claim.group)
    }
  }
}

extension ContainerState {
  /// The CPU limit's files, of the group in which it was found.
  ///
  /// - Throws: ``SystemError``: ESRCH where that group is gone, and its path another's.
  func cpuWriter(readOnly: Bool = false) throws(SystemError) -> CgroupWriter {
    guard let path = cpuDirectory, let version else {
      throw SystemError("find", "the container's group", errno: ESRCH)
    }
    let group = try FileDescriptor.open(path, O_RDONLY | O_DIRECTORY)
    guard try group.status().identity.inode == cpuInode else {
      throw SystemError("find", "the container's group", errno: ESRCH)
    }
    // The CPU limit of a strict container's outer group does not move: its own has the declared one.
    if claim != nil, let own = ownDirectory, own != path {
      return try CgroupWriter(
        directory: FileDescriptor.open(own, O_RDONLY | O_DIRECTORY), version: version,
        readOnly: readOnly, in: CgroupLocation.scope(around: own, named: innerName))
    }
    return try CgroupWriter(
      directory: group, version: version, readOnly: readOnly,
      in: CgroupLocation.scope(around: path, named: cgroupName), around: innerDirectory)
  }

  /// The memory limit's files; nil where there is no such group.
  func memoryWriter(readOnly: Bool = false) throws(SystemError) -> MemoryWriter? {
    guard let path = memoryDirectory, let version else { return nil }
    return try MemoryWriter(
      directory: path, version: version, readOnly: readOnly,
      in: CgroupLocation.scope(around: path, named: cgroupName), around: memoryInner(in: path),
      isLine: memory?.isLine ?? false)
  }

  /// What it uses of memory, in bytes.
  var memoryUse: Int64 {
    guard let version, let memoryDirectory else { return 0 }
    let text = CgroupFile.memoryUsage.text(of: memoryDirectory, version) ?? ""
    return Int64(text.prefix { $0 != "\n" }) ?? 0
  }

  /// Gives a container that nobody supervises any more the limits that it declared.
  ///
  /// What the kernel refuses stays as it is: a CPU limit above that of a group around it, on cgroup
  /// v1, and a memory limit below what is used.
  func giveBackLimits() {
    guard policy != .observe else { return }
    // A group that is gone has no limits.
    if var writer = try? cpuWriter(), let current = try? writer.current() {
      // Refused by the kernel, or because there is no inner group: it stays as it is.
      if let inner = (try? writer.inner()) ?? nil,
        inner.nanocores ?? .max < base.declared.nanocores ?? .max
      {
        // The same.
        try? writer.raiseInner(to: base.declared)
      }
      // The same.
      try? writer.set(base.declared, from: current)
    }
    if let memory, let path = memoryDirectory, let version {
      FoundMemory.giveBack(
        memory, path, version, named: cgroupName, around: memoryInner(in: path))
    }
  }
}

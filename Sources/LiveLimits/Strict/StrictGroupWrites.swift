// SPDX-License-Identifier: Apache-2.0
internal import CPUSets
internal import Cgroups
internal import Quantities
internal import State
internal import Syscalls

extension ContainerState {
  /// Gives the container's group CPUs, and the one below it where it has a set of its own.
  ///
  /// crun writes both. What either has alone is nothing that the processes may use.
  ///
  /// - Parameters:
  ///   - cpus: The CPUs.
  ///   - all: Those of the group below; nil for the same. No later plan narrows or widens that.
  ///   - tree: Where the groups are.
  /// - Throws: ``SystemError``, as ``CgroupWriter`` does.
  func setCPUs(
    _ cpus: CPUSet, of all: CPUSet? = nil, in tree: CpusetTree
  ) throws(SystemError) {
    guard let claim else { return }
    try CgroupWriter.setCPUs(cpus, of: tree.directory(claim.group))
    // On v1 the one below has what the one above has.
    guard version?.hasPartitions == true, let inner = ownDirectory.flatMap(tree.group),
      inner.isGroup(below: claim.group), tree.cpus(of: inner)?.isEmpty == false
    else { return }
    try CgroupWriter.setCPUs(all ?? cpus, of: tree.directory(inner))
  }
}

// SPDX-License-Identifier: Apache-2.0
internal import Application
internal import Cgroups
internal import Glibc
internal import Quantities
package import State
internal import Syscalls

extension ContainerState {
  /// The least CPU limit that a group above the container's has, where cgroup v1 refuses more: what
  /// the groups were given by others, and what is in force.
  ///
  /// - Parameter root: Where it is written down what a pod was given by others.
  /// - Returns: nanocores; as much as there can be where nothing is refused.
  package func limitAbove(_ root: StateRoot) -> (declared: Int64, inForce: Int64) {
    var least = (declared: Int64.max, inForce: Int64.max)
    guard let version, version.refusesLimitAboveParent, var path = cpuDirectory else {
      return least
    }
    while let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")) {
      path = String(path[..<slash])
      // The root has no limit.
      guard let directory = FileDescriptor.openIfPossible(path, O_RDONLY | O_DIRECTORY),
        // A group that is gone refuses nothing.
        let reader = try? CgroupWriter(directory: directory, version: version, readOnly: true),
        let limit = try? reader.current()
      else { break }
      let inForce = limit.nanocores ?? .max
      let sight = ParentRegistry.sight(of: path, .cpu, root)
      least.inForce = min(least.inForce, inForce)
      least.declared = min(least.declared, sight.map { $0.found ?? .max } ?? inForce)
    }
    return least
  }
}

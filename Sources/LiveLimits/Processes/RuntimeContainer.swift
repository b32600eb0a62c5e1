// SPDX-License-Identifier: Apache-2.0
internal import Syscalls

/// The containers that run under the low-level runtimes of this machine, by their own states.
package struct RuntimeContainer: Equatable {
  /// The runtime's `--root`.
  package let root: String
  /// The container's id.
  package let id: String
  /// The pid of its init.
  package let process: Int32

  /// Names one.
  package init(root: String, id: String, process: Int32) {
    (self.root, self.id, self.process) = (root, id, process)
  }

  /// The config.json that the container was made from; nil where its runtime does not name it.
  package var config: String? {
    RuntimeStates.bundle(in: root + "/" + id).map { $0 + "/config.json" }
  }

  /// All of them.
  ///
  /// - Parameter root: A root beside those that engines use.
  /// - Returns: Those whose init runs, in no order.
  package static func all(below root: String?) -> [RuntimeContainer] {
    let roots = Set((root.map { [$0] } ?? []) + RuntimeStates.usualRoots())
    return roots.flatMap { root in
      RuntimeStates.subdirectories(root).compactMap { id in
        let directory = root + "/" + id
        guard let process = RuntimeStates.initProcess(in: directory),
          let found = ProcessIdentity(pid: process),
          found.startTicks == RuntimeStates.initStart(in: directory) ?? found.startTicks
        else { return nil }
        return RuntimeContainer(root: root, id: id, process: process)
      }
    }
  }
}

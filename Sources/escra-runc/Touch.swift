// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Glibc
internal import LiveLimits
internal import State

extension RuntimeCall {
  /// Where the low-level runtime keeps its state, absolute: with an id it names a container.
  var root: String {
    if let given = invocation.root?.text { return StateRoot.runtimeRoot(given) }
    let name = runtime.utf8.split(separator: UInt8(ascii: "/")).last.map { String(Substring($0)) }
    let directory = name == "crun" ? "crun" : "runc"
    if geteuid() != 0, let user = getenv("XDG_RUNTIME_DIR") {
      return StateRoot.runtimeRoot(String(cString: user) + "/" + directory)
    }
    return "/run/" + directory
  }

  /// The instances of the container that the call is about; none for one that is not ours.
  func instances() -> [String] {
    guard let id = invocation.id?.text else { return [] }
    return stateRoot.instances(root: root, id: id)
  }

  /// Any call about a supervised container: a keeper that has died is started again, in passing.
  ///
  /// Two open(2) that find nothing where the container is none of ours.
  func touch() {
    let isOurs = !instances().isEmpty
    // The group around a container's own is the keeper's to remove.
    guard isOurs || stateRoot.hasOuterGroups else { return }
    Launcher.startKeeperIfNone(stateRoot)
    guard isOurs else { return }
    // A process joins the container's cpuset with the mask it comes with.
    if invocation.verb == .exec { escra_reset_affinity() }
  }
}

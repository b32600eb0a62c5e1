// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Cgroups
internal import Glibc
internal import Syscalls

/// How a process of ours that outlives its caller behaves towards the machine.
enum ProcessSetup {
  /// Where helpers stand with the out-of-memory killer: spared for long, but not for ever.
  static let oomScoreAdjustment = -900

  /// Moves this process out of the groups of the runtime's caller.
  ///
  /// A shim's or an engine's group is frozen, limited and killed for reasons that are not ours;
  /// the container's group is not even allowed to hold a stranger. The place is each hierarchy's
  /// root; of cgroup v2 the machine's own takes processes whatever is below it, and a container's
  /// refuses them (EBUSY), where groups below it have limits. Where systemd runs, its own
  /// hierarchies are its business, and v2's is one of them: there a ``ScopeRequest`` asks it.
  static func moveToRootCgroups() {
    guard let membership = FileDescriptor.textIfReadable(of: "/proc/self/cgroup"),
      let mountinfo = FileDescriptor.textIfReadable(of: "/proc/self/mountinfo")
    else { return }
    let mounts = CgroupMount.parse(mountinfo)
    let memberships = CgroupMembership.parse(membership)
    let hasSystemd = access("/run/systemd/system", F_OK) == 0
    for group in memberships where group.path != "/" {
      let isSystemds =
        group.controllers.isEmpty
        || group.controllers.contains { $0.utf8.starts(with: "name=".utf8) }
      if hasSystemd && isSystemds { continue }
      let mount = mounts.first { mount in
        group.controllers.isEmpty
          ? mount.controllers.isEmpty
          : group.controllers.allSatisfy { mount.controllers.contains($0) }
      }
      mount?.enterRoot()
    }
  }

  /// Has this process let in at once when it wakes, now and as the image that supervises.
  ///
  /// It runs for microseconds at a time. What it hears of is over in a few milliseconds, and for who
  /// is at its memory limit a late raise is the end. Where there is more to do than CPUs, an ordinary
  /// process waits for 4 ms in one of a hundred cases, and for 45 ms in one of a thousand.
  static func setRealtime() { _ = escra_set_realtime() }

  /// Lets a process have as many files open as it may: a supervisor has some fifty, the keeper a
  /// connection to each supervisor, and the broker of an application to each of its members; callers'
  /// limits are for other things.
  static func allowDescriptors() {
    _ = escra_allow_descriptors()
  }

  /// Takes an oom_score_adj of its own instead of the caller's (containerd's is -999).
  static func setOOMScore() {
    for score in ["\(oomScoreAdjustment)", "0"] {
      // Lower than it was ever set with CAP_SYS_RESOURCE needs that capability (proc(5)).
      if let file = FileDescriptor.openIfPossible("/proc/self/oom_score_adj", O_WRONLY),
        (try? file.write(score)) != nil
      {
        return
      }
    }
  }
}

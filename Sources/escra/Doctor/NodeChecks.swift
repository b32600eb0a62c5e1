// SPDX-License-Identifier: Apache-2.0
internal import Cgroups
internal import Glibc
internal import State
internal import Syscalls

/// Looks at the node: its cgroups, our directory, and what of ours runs on it.
struct NodeChecks {
  /// The path of escra-runc.
  let program: String
  let root: StateRoot

  var checks: [Check] {
    [kernel, cgroups, directory] + [supervisors, unsupervised].compactMap(\.self)
  }

  private var kernel: Check {
    let release =
      FileDescriptor.textIfReadable(of: "/proc/sys/kernel/osrelease")?.split(separator: "\n").first
      .map(String.init) ?? "unknown"
    let version = release.split { !$0.isNumber }.prefix(2).compactMap { Int($0) }
    return version.lexicographicallyPrecedes([6, 1])
      ? .warning("kernel", "Linux \(release) is older than any that escra-runc was tested on (6.1)")
      : .ok("kernel", "Linux \(release)")
  }

  private var cgroups: Check {
    let mounts = CgroupMount.parse(FileDescriptor.textIfReadable(of: "/proc/self/mountinfo") ?? "")
    let own = mounts.first { $0.controllers.contains("cpu") }
    let unified = mounts.first { $0.controllers.isEmpty }
    let controllers = unified?.availableControllers ?? []
    guard let mount = own ?? (controllers.contains("cpu") ? unified : nil) else {
      return .problem(
        "cgroups",
        "no cgroup hierarchy with the cpu controller is mounted, so no CPU limit can be set; mount "
          + "cgroup2 on /sys/fs/cgroup")
    }
    if mount.isReadOnly {
      return .problem(
        "cgroups",
        "\(mount.point) is mounted read-only, so no limit can be written; mount it read-write")
    }
    let driver = access("/run/systemd/system", F_OK) == 0 ? "systemd runs" : "without systemd"
    return .ok(
      "cgroups",
      (own == nil ? "version 2" : unified == nil ? "version 1" : "version 1 (hybrid)")
        + ", \(mount.point), \(driver)")
  }

  /// Where supervisors keep what they know.
  private var directory: Check {
    let path = access(root.path, F_OK) == 0 ? root.path : "/run"
    // What only root may write is not tried by others.
    guard access(path, W_OK) == 0 || errno == EACCES else {
      return .problem(
        "state directory",
        "\(path) cannot be written (\(SystemError.last("write", path).symbol)), so no container can be "
          + "supervised; mount it read-write, as a tmpfs")
    }
    return .ok("state directory", "\(root.path) can be written")
  }

  private var sights: [Observer.Sight] {
    // The check of the state directory says why it cannot be read.
    (try? root.checkAccess()) == nil ? [] : Observer(root).look()
  }

  /// Supervisors keep the program that they were started from.
  private var supervisors: Check? {
    let sights = sights.filter { $0.report.supervisor != nil }
    guard !sights.isEmpty, let installed = FileStatus.ifThere(program)?.identity else {
      return nil
    }
    let old = sights.filter { sight in
      let path = "/proc/\(sight.report.supervisor ?? 0)/exe"
      return FileStatus.ifThere(path).map { $0.identity != installed } ?? false
    }
    guard !old.isEmpty else {
      return .ok("supervisors", "\(sights.count), all of the program that is installed")
    }
    return .warning(
      "supervisors",
      "\(old.count) of \(sights.count) run another escra-runc than \(program), as after an upgrade: "
        + Self.list(old)
        + "; they keep working; escra release and escra adopt replace them")
  }

  private var unsupervised: Check? {
    let left = sights.filter {
      $0.report.supervisor == nil && $0.report.unsupervised != nil && $0.report.phase != "ended"
    }
    guard !left.isEmpty else { return nil }
    return .warning(
      "containers",
      "without a supervisor although they ask for a policy: \(Self.list(left)); escra explain has the "
        + "reason, escra adopt tries again")
  }

  /// The first few of containers by name.
  private static func list(_ sights: [Observer.Sight]) -> String {
    let names = sights.prefix(5).map(\.report.label).joined(separator: ", ")
    return sights.count > 5 ? "\(names) and \(sights.count - 5) more" : names
  }
}

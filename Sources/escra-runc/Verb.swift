// SPDX-License-Identifier: Apache-2.0

/// The commands of runc, and of each what is needed to find its flags and its container.
///
/// Flags that take no value are not listed: a flag that is not known is taken for one of them, so
/// that a runtime newer than this table still gets its arguments understood.
enum Verb: String, CaseIterable {
  case checkpoint, create, delete, events, exec, features, help, kill, list, pause, ps, restore
  case resume, run, spec, start, state, update

  /// Long names of the flags that take a value: runc 1.1 to 1.4, and crun's `config`.
  var valuedFlags: [String] {
    switch self {
    case .create, .run:
      ["bundle", "config", "console-socket", "pid-file", "pidfd-socket", "preserve-fds"]
    case .exec:
      [
        "additional-gids", "apparmor", "cap", "cgroup", "console-socket", "cwd", "env", "pid-file",
        "pidfd-socket", "preserve-fds", "process", "process-label", "user",
      ]
    case .restore:
      [
        "bundle", "console-socket", "empty-ns", "image-path", "lsm-mount-context", "lsm-profile",
        "manage-cgroups-mode", "pid-file", "work-path",
      ]
    case .checkpoint:
      [
        "empty-ns", "image-path", "manage-cgroups-mode", "page-server", "parent-path", "status-fd",
        "work-path",
      ]
    case .update:
      [
        "blkio-weight", "cpu-burst", "cpu-idle", "cpu-period", "cpu-quota", "cpu-rt-period",
        "cpu-rt-runtime", "cpu-share", "cpuset-cpus", "cpuset-mems", "kernel-memory",
        "kernel-memory-tcp", "l3-cache-schema", "mem-bw-schema", "memory", "memory-reservation",
        "memory-swap", "pids-limit", "resources",
      ]
    case .events: ["interval"]
    case .list, .ps: ["format"]
    case .spec: ["bundle"]
    case .delete, .features, .help, .kill, .pause, .resume, .start, .state: []
    }
  }

  /// The long name of a one-letter flag; any other name is returned as it is.
  func longName(of name: String) -> String {
    switch (self, name) {
    case (_, "h"): "help"
    case (.create, "b"), (.run, "b"), (.restore, "b"), (.spec, "b"): "bundle"
    case (.create, "f"), (.run, "f"): "config"
    case (.run, "d"), (.exec, "d"), (.restore, "d"): "detach"
    case (.exec, "e"): "env"
    case (.exec, "t"): "tty"
    case (.exec, "u"): "user"
    case (.exec, "g"): "additional-gids"
    case (.exec, "p"): "process"
    case (.exec, "c"): "cap"
    case (.delete, "f"): "force"
    case (.kill, "a"): "all"
    case (.list, "f"), (.ps, "f"): "format"
    case (.list, "q"): "quiet"
    case (.update, "r"): "resources"
    default: name
    }
  }

  /// Whether flags may also stand behind the container's id, as in `delete ID --force`.
  ///
  /// runc's parser moves them to the front for every verb but these two, whose later arguments
  /// belong to another program; crun's does the same.
  var flagsMayFollowWords: Bool { self != .exec && self != .ps }

  /// Whether the first word behind the flags is a container's id.
  var namesContainer: Bool {
    switch self {
    case .features, .help, .list, .spec: false
    default: true
    }
  }
}

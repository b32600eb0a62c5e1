// SPDX-License-Identifier: Apache-2.0

/// What a caller asked of the runtime, read as runc reads it.
///
/// A pure function of argv. It never refuses: what is wrong in a call is runc's to say, in runc's
/// words. Where runc would refuse a call, what is found here is only a good guess.
struct Invocation: Equatable {
  /// The flags before the verb, ours among them.
  let globals: Flags
  /// The verb; nil where there is none, or one that this program does not know.
  let verb: Verb?
  /// Where the verb stands in argv, known or not.
  let verbIndex: Int?
  /// The flags of the verb.
  let flags: Flags
  /// The container's id, for a verb that has one.
  let id: FlagValue?
  /// The name that the program was called by, which may select a policy.
  let programName: String?

  /// Reads a command line.
  ///
  /// - Parameter arguments: argv with the program's name as its first element.
  init(_ arguments: [String]) {
    programName = arguments.first

    var globals = Flags()
    let words = globals.read(
      arguments, from: 1, mayFollowWords: false, longName: Self.longGlobal,
      takesValue: Self.valuedGlobals.contains)
    self.globals = globals

    verbIndex = words.first
    verb = words.first.flatMap { Verb(rawValue: arguments[$0]) }
    var flags = Flags()
    var id: FlagValue?
    if let verb, let verbIndex {
      let valued = verb.valuedFlags
      let words = flags.read(
        arguments, from: verbIndex + 1, mayFollowWords: verb.flagsMayFollowWords,
        longName: verb.longName, takesValue: valued.contains)
      if verb.namesContainer {
        id = words.first.map { FlagValue(index: $0, offset: 0, text: arguments[$0]) }
      }
    }
    self.flags = flags
    self.id = id
  }

  /// The flags before the verb that take a value: runc's, crun's and ours.
  private static let valuedGlobals = [
    "log", "log-format", "root", "criu", "rootless", "cgroup-manager", "log-level",
    "escra-config", "escra-policy",
  ]

  private static func longGlobal(_ name: String) -> String {
    switch name {
    case "h": "help"
    case "v": "version"
    default: name
    }
  }
}

extension Invocation {
  /// Where runc writes its errors.
  var log: FlagValue? { globals["log"] }
  /// Where runc keeps its state; runc's default is /run/runc.
  var root: FlagValue? { globals["root"] }
  /// Whether cgroups are made through systemd; crun has two flags for that.
  var systemdCgroup: Bool {
    globals.isOn("systemd-cgroup") || globals["cgroup-manager"]?.text == "systemd"
  }
  /// Whether crun is told to make no cgroup.
  var makesNoCgroup: Bool { globals["cgroup-manager"]?.text == "disabled" }
  /// "auto", "true" or "false".
  var rootless: FlagValue? { globals["rootless"] }

  /// The bundle's directory; none means the working directory.
  var bundle: FlagValue? { flags["bundle"] }
  /// crun's `--config`: the config in another place; nil for the bundle's own config.json, which
  /// crun means by that name wherever it is called.
  var config: FlagValue? {
    guard verb != .restore, let config = flags["config"], config.text != "config.json" else {
      return nil
    }
    return config
  }
  /// Where the pid of the container's first process goes; to runc an empty name is none.
  var pidFile: FlagValue? { flags["pid-file"].flatMap { $0.text.isEmpty ? nil : $0 } }
  /// `restore --image-path`: the directory of a checkpoint.
  var imagePath: FlagValue? { flags["image-path"] }
  /// The file with an update, "-" for stdin.
  var resources: FlagValue? { flags["resources"] }
  /// Whether the call returns while the container runs.
  var detach: Bool { flags.isOn("detach") }
  /// `delete --force`.
  var force: Bool { flags.isOn("force") }

  /// `--escra-config`: the operator's configuration in another place.
  var ownConfig: FlagValue? { globals["escra-config"] }
  /// `--escra-policy`: the default policy.
  var ownPolicy: FlagValue? { globals["escra-policy"] }
  /// The positions in argv that runc must not see.
  var ownArguments: [Int] { ownEntries.flatMap(\.arguments) }
  /// The name of a flag of ours that was given no value.
  var ownFlagWithoutValue: String? { ownEntries.first { $0.value == nil }?.name }

  /// Whether only help is asked for, which runc gives whatever else the call says.
  var wantsHelp: Bool { globals.isOn("help") || flags.isOn("help") }
  /// Whether only the version is asked for.
  var wantsVersion: Bool { globals.isOn("version") && !globals.isOn("help") }

  private var ownEntries: [Flags.Entry] {
    globals.entries.filter { $0.name == "escra-config" || $0.name == "escra-policy" }
  }
}

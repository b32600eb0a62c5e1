// SPDX-License-Identifier: Apache-2.0
internal import ArgumentParser
internal import Glibc
internal import LiveLimits
internal import OCISpec
internal import Quantities
internal import State
internal import Syscalls

/// `escra adopt`.
struct AdoptCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "adopt",
    abstract: "Supervise containers that were released, or started without escra-runc.",
    discussion: """
      Without --policy it undoes a release. A member of an application gets what that has free, and \
      a strict container whole CPUs. If there is not enough, the container stays released.

      With --policy it takes a container that was started without escra-runc: by its name, its id \
      in runc or crun, or --cgroup. Its present limits are the declared ones. Its processes do not \
      notice. escra release undoes it.
      """)

  @OptionGroup var common: CommonOptions
  @OptionGroup var which: WhichContainers
  @OptionGroup var foreign: ForeignOptions

  @Option(
    help: ArgumentHelp(
      "The operator's config, as the runtime is called with it; else \(OperatorConfig.defaultPath).",
      valueName: "file"))
  var escraConfig: String?

  func validate() throws {
    if foreign.policy == nil { try which.check() }
    try foreign.check(which)
  }

  func run() throws {
    // Supervisors read what is made here without any capability.
    umask(0o077)
    let root = try common.stateRoot
    if foreign.policy != nil {
      let adopted = try adoptForeign(root)
      RuntimeProgram.callKeeper(root)
      try waitForSupervisor(of: adopted.label, adopted.path)
      return try Output.write(lines: [adopted.sentence])
    }
    let chosen = try which.choose(root).filter { which.id != nil || Self.isReleased($0.path) }
    if chosen.isEmpty { return try Output.write(lines: ["No container is released."]) }
    var adopted: [Instance] = []
    try eachOf(chosen, root) { directory, state, label throws(Complaint) in
      // Without exclusive CPUs nothing of the config is needed, which may be broken.
      let reserved = state.claim == nil ? CPUSet() : try reservedCPUs(for: label)
      do {
        guard try Release.adopt(directory, reserved: reserved, root) else {
          return "\(label) was not released, so there is nothing to undo."
        }
        adopted.append(Instance(path: directory.path, label: label))
        return "\(label) is supervised again."
      } catch let error as ReleaseError {
        throw Complaint("\(label) \(error)")
      } catch let error as any (Error & CustomStringConvertible) {
        throw Complaint("\(label) stays released: \(error.description)")
      } catch { throw Complaint("\(label) stays released") }
    }
    for one in adopted { try waitForSupervisor(of: one.label, one.path) }
  }

  /// Waits for a supervisor that has found its container, or for the container's end.
  private func waitForSupervisor(of id: String, _ path: String) throws(Complaint) {
    if Self.isSupervised(path) { return }
    throw Complaint(
      "no supervisor of \(id) is ready after \(Self.patience / 1_000_000_000) s;"
        + " the next call of the runtime for it starts another one")
  }

  /// Takes a container that was started without escra-runc.
  private func adoptForeign(_ root: StateRoot) throws -> ForeignOptions.Adopted {
    let path = escraConfig ?? OperatorConfig.defaultPath
    let config: OperatorConfig
    do throws(OperatorConfigError) {
      config = try OperatorConfig.load(path: path, isRequired: escraConfig != nil)
    } catch { throw Complaint(error.description) }
    return try foreign.adopt(which, config, root)
  }

  /// The operator's CPUs that no strict container gets.
  private func reservedCPUs(for id: String) throws(Complaint) -> CPUSet {
    do throws(OperatorConfigError) {
      let config = try OperatorConfig.load(
        path: escraConfig ?? OperatorConfig.defaultPath, isRequired: escraConfig != nil)
      return config.reservedCPUs.flatMap { CPUSet(list: $0) } ?? CPUSet()
    } catch { throw Complaint("\(id) cannot be adopted: \(error.description)") }
  }

  private static func isReleased(_ path: String) -> Bool {
    StateDirectory.ifThere(path)?.releaseStage != nil
  }

  /// How long a supervisor may take: it is ready within milliseconds, but for a crowded machine.
  private static let patience: Nanoseconds = 10_000_000_000

  /// Whether one comes, or the container ends, within ``patience``.
  private static func isSupervised(_ path: String) -> Bool {
    let deadline = monotonicNow() + patience
    while monotonicNow() < deadline {
      guard let directory = StateDirectory.ifThere(path), let state = directory.load() else {
        return true
      }
      if directory.isSupervised, let supervisor = state.supervisor,
        ProcessIdentity(pid: supervisor.pid) == supervisor
      {
        return true
      }
      usleep(10_000)
    }
    return false
  }
}

/// The runtime, which is this package's other program.
enum RuntimeProgram {
  /// Has the keeper look at what has changed; where there is none, starts one.
  static func callKeeper(_ root: StateRoot) {
    guard !root.instances().isEmpty else { return }
    for path in candidates {
      guard let program = FileDescriptor.openIfPossible(path, O_RDONLY) else { continue }
      _ = Launcher.callKeeper(root, of: program.number)
      return
    }
  }

  /// The first of the places where it is, else the usual one.
  static var path: String {
    candidates.first { access($0, X_OK) == 0 } ?? "/usr/local/bin/escra-runc"
  }

  /// Beside this program, then where it is installed.
  private static var candidates: [String] {
    let resolved = realpath("/proc/self/exe", nil)
    defer { free(resolved) }
    let own = resolved.map { String(cString: $0) } ?? ""
    let beside = own.lastIndex(of: "/").map { String(own[...$0]) + "escra-runc" }
    return (beside.map { [$0] } ?? []) + ["/usr/local/bin/escra-runc", "/usr/bin/escra-runc"]
  }
}

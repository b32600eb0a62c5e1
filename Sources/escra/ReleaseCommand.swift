// SPDX-License-Identifier: Apache-2.0
internal import ArgumentParser
internal import Control
internal import Glibc
internal import LiveLimits
internal import OCISpec
internal import Quantities
internal import State

/// `escra release`.
struct ReleaseCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "release",
    abstract: "Return containers to the low-level runtime while they run.",
    discussion: """
      A released container has its declared limits and no supervisor, until escra adopt. A member \
      leaves its application; the CPUs of a strict container are shared again. Containers that are \
      created later are supervised as before.
      """)

  @OptionGroup var common: CommonOptions
  @OptionGroup var which: WhichContainers

  func validate() throws { try which.check() }

  func run() throws {
    // Supervisors read what is made here without any capability.
    umask(0o077)
    let root = try common.stateRoot
    let chosen = try which.choose(root)
    if chosen.isEmpty { return try Output.write(lines: ["No container is supervised."]) }
    try eachOf(chosen, root) { directory, state, label throws(Complaint) in
      let before = directory.releaseStage
      do throws(ReleaseError) {
        let limits = try Release.release(directory, root)
        return before == .done
          ? "\(label) was already released." : ReleaseSentence(state, limits, label: label).text
      } catch { throw Complaint("\(label) \(error)") }
    }
  }
}

/// One container, and what sentences call it.
struct Instance {
  /// Its directory.
  let path: String
  let label: String
}

/// Which containers a command is about.
struct WhichContainers: ParsableArguments {
  @Argument(
    help: "The container's name, its id, or the beginning of that.",
    completion: .custom(containerWords))
  var id: String?

  @Flag(help: "All containers.")
  var all = false

  @Option(
    help: ArgumentHelp("The runtime's root, where two have the id.", valueName: "dir"),
    transform: StateRoot.runtimeRoot)
  var root: String?

  /// Refuses what names none, or one and all.
  func check() throws {
    if (id == nil) == !all {
      throw ValidationError("name a container by its NAME or ID, or write --all")
    }
  }

  /// Their instances.
  func choose(_ stateRoot: StateRoot) throws(Complaint) -> [Instance] {
    let sights = Observer(stateRoot).look().filter { (root ?? $0.state.root) == $0.state.root }
    let instances = sights.map { Instance(path: $0.path, label: $0.report.label) }
    guard let id else { return instances }
    return [instances[try escra.choose(id, root: root, among: sights.map(\.candidate))]]
  }
}

/// Does something to containers, one after the other, and says what came of each.
///
/// What does not work with one is no reason to leave out the next.
///
/// - Parameters:
///   - instances: The containers.
///   - root: Where states are.
///   - body: What to do; returns the sentence about it.
/// - Throws: ``Complaint``, of all that did not work.
func eachOf(
  _ instances: [Instance], _ root: StateRoot,
  _ body: (borrowing StateDirectory, ContainerState, String) throws(Complaint) -> String
) throws(Complaint) {
  var complaints: [String] = []
  for instance in instances {
    // Gone in the meantime, there is nothing left to do.
    guard let directory = StateDirectory.ifThere(instance.path), let state = directory.load()
    else { continue }
    do throws(Complaint) {
      try Output.write(lines: [Table.printable(try body(directory, state, instance.label))])
    } catch {
      // That standard output cannot be written is reported once.
      if !complaints.contains(error.description) { complaints.append(error.description) }
    }
  }
  RuntimeProgram.callKeeper(root)
  if !complaints.isEmpty { throw Complaint(lines: complaints) }
}

/// What a container has that was just released.
struct ReleaseSentence {
  /// The sentence.
  let text: String

  /// Says it.
  ///
  /// - Parameters:
  ///   - state: What it declares.
  ///   - limits: What the kernel has.
  ///   - label: What to call it; else its id.
  init(_ state: ContainerState, _ limits: LimitsInForce, label: String? = nil) {
    var parts: [String] = []
    if let found = limits.cpu {
      let declared = state.base.declared
      parts.append(
        found == declared
          ? "its CPU limit is \(Self.cores(found))"
          : "its CPU limit stays at \(Self.cores(found)), because the kernel refused the "
            + "\(Self.cores(declared)) that it declares")
    }
    if let found = limits.memory {
      let declared = state.memory?.declared ?? MemoryLimit.unlimited
      parts.append(
        found <= declared
          ? "its memory limit is \(Self.memory(found))"
          : "its memory limit stays at \(Self.memory(found)), because it uses more than the "
            + "\(Self.memory(declared)) that it declares; update it when it uses less")
    }
    if let cpus = limits.cpus { parts.append("it shares the CPUs \(cpus) with other containers") }
    text =
      "\(label ?? state.id) is released"
      + (parts.isEmpty ? "" : ": " + parts.joined(separator: "; ")) + "."
  }

  private static func cores(_ limit: CFSBandwidth) -> String {
    limit.nanocores.map { "\(fixed(Double($0) / 1e9, 2)) cores" } ?? "none"
  }

  private static func memory(_ limit: Int64) -> String {
    limit >= MemoryLimit.unlimited ? "none" : bytes(limit)
  }
}

// SPDX-License-Identifier: Apache-2.0
internal import ArgumentParser
internal import Glibc
internal import LiveLimits

/// `escra release`.
struct ReleaseCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "release",
    abstract: "Give containers back: declared limits, no supervisor, and they run on.",
    discussion: """
      It leaves its application, whose other members may have what it held; CPUs of its own become \
      everybody's again. Nobody starts a supervisor for it any more, until escra adopt. Containers \
      that are created later are supervised as ever.
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
    try eachOf(chosen, root) { directory, state throws(Complaint) in
      let before = directory.releaseStage
      do throws(ReleaseError) {
        let limits = try Release.release(directory, root)
        return before == .done
          ? "\(state.id) was released before." : ReleaseSentence(state, limits).text
      } catch { throw Complaint("\(state.id) \(error)") }
    }
  }
}

/// Which containers a command is about.
struct WhichContainers: ParsableArguments {
  @Argument(
    help: "The container's id, or the beginning of one.", completion: Completion.containers)
  var id: String?

  @Flag(help: "All there are.")
  var all = false

  @Option(
    help: ArgumentHelp("The runtime's root, where two have the id.", valueName: "dir"),
    transform: StateRoot.runtimeRoot)
  var root: String?

  /// Refuses what names none, or one and all.
  func check() throws {
    if (id == nil) == !all {
      throw ValidationError("say which container: its ID, or --all for all there are")
    }
  }

  /// Their instances, as paths.
  func choose(_ stateRoot: StateRoot) throws(Complaint) -> [String] {
    let sights = Observer(stateRoot).look().filter { (root ?? $0.state.root) == $0.state.root }
    guard let id else { return sights.map(\.path) }
    let index = try escra.choose(id, root: root, among: sights.map { ($0.state.id, $0.state.root) })
    return [sights[index].path]
  }
}

/// Does something to containers, one after the other, and says what came of each.
///
/// What does not work with one is no reason to leave out the next.
///
/// - Parameters:
///   - paths: Their instances.
///   - root: Where states are.
///   - body: What to do; returns the sentence about it.
/// - Throws: ``Complaint``, of all that did not work.
func eachOf(
  _ paths: [String], _ root: StateRoot,
  _ body: (borrowing StateDirectory, ContainerState) throws(Complaint) -> String
) throws(Complaint) {
  var complaints: [String] = []
  for path in paths {
    // Gone in the meantime, there is nothing left to do.
    guard let directory = try? StateDirectory(opening: path), let state = directory.load() else {
      continue
    }
    do throws(Complaint) {
      try Output.write(lines: [Table.printable(try body(directory, state))])
    } catch {
      // That standard output takes nothing is told once.
      if !complaints.contains(error.description) { complaints.append(error.description) }
    }
  }
  RuntimeProgram.callKeeper(root)
  if !complaints.isEmpty { throw Complaint(complaints.joined(separator: "\n")) }
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
  init(_ state: ContainerState, _ limits: LimitsInForce) {
    var parts: [String] = []
    if let found = limits.cpu {
      let declared = state.base.declared
      parts.append(
        found == declared
          ? "its CPU limit is \(Self.cores(found))"
          : "its CPU limit stays at \(Self.cores(found)), for the kernel did not take the "
            + "\(Self.cores(declared)) that it declares")
    }
    if let found = limits.memory {
      let declared = state.memory?.declared ?? MemoryBase.unlimited
      parts.append(
        found <= declared
          ? "its memory limit is \(Self.memory(found))"
          : "its memory limit stays at \(Self.memory(found)), for it uses more than the "
            + "\(Self.memory(declared)) that it declares; update it when it uses less")
    }
    if let cpus = limits.cpus { parts.append("it runs on the CPUs \(cpus) with all others") }
    text =
      "\(state.id) is released" + (parts.isEmpty ? "" : ": " + parts.joined(separator: "; ")) + "."
  }

  private static func cores(_ limit: CPUQuota) -> String {
    limit.nanocores.map { "\(fixed(Double($0) / 1e9, 2)) cores" } ?? "none"
  }

  private static func memory(_ limit: Int64) -> String {
    limit >= MemoryBase.unlimited ? "none" : bytes(limit)
  }
}

// SPDX-License-Identifier: Apache-2.0
internal import ArgumentParser
internal import Cgroups
internal import LiveLimits
internal import OCISpec
internal import Quantities
internal import State
internal import Syscalls

/// What `escra adopt` does with a container that was started without escra-runc: the options say what
/// annotations would have said.
struct ForeignOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Adopt a container that was started without escra-runc: observe or reactive.",
      valueName: "policy"))
  var policy: String?

  @Option(
    help: ArgumentHelp(
      "Its cgroup, instead of its id: a directory, or a path as /proc/PID/cgroup has it.",
      valueName: "path"))
  var cgroup: String?

  @Option(help: ArgumentHelp("The least of its CPU limit.", valueName: "cores"))
  var cpuMin: String?

  @Option(
    help: ArgumentHelp("The most of its CPU limit; else what it has now.", valueName: "cores"))
  var cpuMax: String?

  @Option(help: ArgumentHelp("The least of its memory limit.", valueName: "bytes"))
  var memoryMin: String?

  @Option(
    help: ArgumentHelp("The most of its memory limit; else what it has now.", valueName: "bytes"))
  var memoryMax: String?

  @Option(help: ArgumentHelp("The application that it shares its limits with.", valueName: "name"))
  var app: String?

  /// A container that was adopted.
  struct Adopted {
    let id: String
    let path: String
    let sentence: String
  }

  /// As annotations would say it.
  private var annotations: [(key: String, value: String)] {
    [
      ("policy", policy), ("cpu.min", cpuMin), ("cpu.max", cpuMax), ("memory.min", memoryMin),
      ("memory.max", memoryMax), ("app", app),
    ].compactMap { key, value in value.map { ("io.escra." + key, $0) } }
  }

  /// Refuses what does not belong together.
  func check(_ which: WhichContainers) throws {
    guard let policy else {
      if cgroup != nil || !annotations.isEmpty {
        throw ValidationError("--cgroup and limits belong to --policy observe or reactive")
      }
      return
    }
    if policy != "observe" && policy != "reactive" {
      throw ValidationError("--policy is \"\(policy)\": write observe or reactive")
    }
    if which.all || (which.id == nil) == (cgroup == nil) {
      throw ValidationError("say which container: its ID, or --cgroup and a path")
    }
  }

  /// Adopts the container that is meant.
  func adopt(
    _ which: WhichContainers, _ config: OperatorConfig, _ root: StateRoot
  ) throws(Complaint) -> Adopted {
    let found = try find(which)
    do {
      let container = try ForeignContainer(id: found.id, root: found.root, process: found.process)
      let policy = try ContainerPolicy.resolve(
        annotations: annotations,
        declared: DeclaredLimits(
          cpu: container.cpu.quota.flatMap { CPULimit(quota: $0, period: container.cpu.period) },
          memory: container.memory),
        config: config,
        node: NodeCapacity(
          millicores: Int64(Machine.onlineCPUs().count) * 1000, memory: Machine.memory()),
        invocationDefault: nil)
      let path = try container.adopt(policy, hostReserve: config.hostMemoryReserve, root)
      return Adopted(
        id: found.id, path: path,
        sentence: "\(found.id) is under the policy \(policy.name.rawValue) now; its limits of this "
          + "moment are what it declares, and escra release gives it back.")
    } catch let error as ReleaseError {
      throw Complaint("\(found.id) \(error)")
    } catch let error as any (Error & CustomStringConvertible) {
      throw Complaint("\(found.id) cannot be adopted: \(error.description)")
    } catch { throw Complaint("\(found.id) cannot be adopted") }
  }

  private func find(_ which: WhichContainers) throws(Complaint) -> RuntimeContainer {
    if let cgroup { return try find(cgroup: cgroup) }
    let running = RuntimeContainer.all(below: which.root)
    do throws(Complaint) {
      return running[
        try choose(
          which.id ?? "", root: which.root,
          among: running.map { Candidate(id: $0.id, root: $0.root) })]
    } catch {
      guard running.contains(where: { $0.id.utf8.starts(with: (which.id ?? "").utf8) }) else {
        throw Complaint(
          "no container of runc or crun has an id that begins with \"\(which.id ?? "")\"; of a "
            + "runtime with another root say so by --root, of any other program by --cgroup")
      }
      throw error
    }
  }

  /// The process of a group that started first.
  private func find(cgroup: String) throws(Complaint) -> RuntimeContainer {
    guard let mounts = try? FileDescriptor.text(of: "/proc/self/mountinfo"),
      let location = locate(cgroup, mounts: mounts),
      let name = location.cpu.split(separator: "/").last,
      let text = try? FileDescriptor.text(of: location.cpu + "/cgroup.procs")
    else { throw Complaint("\"\(cgroup)\" is no cgroup that has a CPU limit") }
    let processes = text.split(separator: "\n").compactMap { Int32($0) }.filter { $0 > 0 }
    let started = processes.compactMap { ProcessIdentity(pid: $0) }
    guard let first = started.min(by: { $0.startTicks < $1.startTicks }) else {
      throw Complaint("the cgroup \"\(cgroup)\" has no process in it")
    }
    return RuntimeContainer(root: "/", id: String(name), process: first.pid)
  }
}

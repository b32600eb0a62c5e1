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
      "The policy for a container that was started without escra-runc: observe or reactive.",
      valueName: "policy"))
  var policy: String?

  @Option(
    help: ArgumentHelp(
      "Its cgroup, instead of its id: a directory, or a path as /proc/PID/cgroup has it.",
      valueName: "path"))
  var cgroup: String?

  @Option(help: ArgumentHelp("The minimum of its CPU limit.", valueName: "cores"))
  var cpuMin: String?

  @Option(
    help: ArgumentHelp("The maximum of its CPU limit; else its present limit.", valueName: "cores"))
  var cpuMax: String?

  @Option(help: ArgumentHelp("The minimum of its memory limit.", valueName: "bytes"))
  var memoryMin: String?

  @Option(
    help: ArgumentHelp(
      "The maximum of its memory limit; else its present limit.", valueName: "bytes"))
  var memoryMax: String?

  @Option(help: ArgumentHelp("The application that it shares its limits with.", valueName: "name"))
  var app: String?

  /// A container that was adopted.
  struct Adopted {
    /// Its name and id.
    let label: String
    let path: String
    let sentence: String
  }

  /// As annotations would say it.
  private var annotations: [(key: String, value: String)] {
    let options: [(key: AnnotationKey, value: String?)] = [
      (.policy, policy), (.cpuMin, cpuMin), (.cpuMax, cpuMax), (.memoryMin, memoryMin),
      (.memoryMax, memoryMax), (.app, app),
    ]
    return options.compactMap { key, value in value.map { (key.name, $0) } }
  }

  /// Refuses options that exclude each other.
  func check(_ which: WhichContainers) throws {
    guard let policy else {
      if cgroup != nil || !annotations.isEmpty {
        throw ValidationError("--cgroup and limits belong to --policy observe or reactive")
      }
      return
    }
    guard let name = PolicyName(rawValue: policy), name == .observe || name == .reactive else {
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
    let label = containerLabel(NameReader.name(of: found), id: found.id)
    do {
      let container = try ForeignContainer(id: found.id, root: found.root, process: found.process)
      let policy = try ContainerPolicy.resolve(
        annotations: annotations,
        declared: DeclaredLimits(
          cpu: container.cpu.nanocores.map(CPUAmount.init(nanocores:)),
          memory: container.memory),
        config: config,
        node: NodeCapacity(
          millicores: Int64(Machine.onlineCPUs().count) * 1000, memory: Machine.memory()),
        invocationDefault: nil)
      let path = try container.adopt(policy, hostReserve: config.hostMemoryReserve, root)
      return Adopted(
        label: label, path: path,
        sentence: "\(label) is under the policy \(policy.name.rawValue) now; its present limits "
          + "are the declared ones, and escra release undoes it.")
    } catch let error as ReleaseError {
      throw Complaint("\(label) \(error)")
    } catch let error as any (Error & CustomStringConvertible) {
      throw Complaint("\(label) cannot be adopted: \(error.description)")
    } catch { throw Complaint("\(label) cannot be adopted") }
  }

  private func find(_ which: WhichContainers) throws(Complaint) -> RuntimeContainer {
    if let cgroup { return try find(cgroup: cgroup) }
    let running = RuntimeContainer.all(below: which.root)
    let wanted = which.id ?? ""
    let candidates = running.map {
      Candidate(id: $0.id, root: $0.root, name: NameReader.name(of: $0))
    }
    let missing =
      "no container of runc or crun is called \"\(wanted)\" or has an id that begins so; if its "
      + "runtime has another root, add --root; for any other program, use --cgroup"
    return running[try choose(wanted, root: which.root, among: candidates, missing: missing)]
  }

  /// The process of a group that started first.
  private func find(cgroup: String) throws(Complaint) -> RuntimeContainer {
    guard let mounts = FileDescriptor.textIfReadable(of: "/proc/self/mountinfo"),
      let location = locate(cgroup, mounts: mounts),
      let name = location.cpu.split(separator: "/").last,
      let text = CgroupFile.processes.text(of: location.cpu, location.version)
    else { throw Complaint("\"\(cgroup)\" is no cgroup with a CPU limit") }
    let processes = text.split(separator: "\n").compactMap { Int32($0) }.filter { $0 > 0 }
    let started = processes.compactMap { ProcessIdentity(pid: $0) }
    guard let first = started.min(by: { $0.startTicks < $1.startTicks }) else {
      throw Complaint("the cgroup \"\(cgroup)\" has no process in it")
    }
    return RuntimeContainer(root: "/", id: String(name), process: first.pid)
  }
}

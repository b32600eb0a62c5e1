// SPDX-License-Identifier: Apache-2.0
internal import ArgumentParser
internal import Cgroups
internal import Control
internal import Glibc
internal import Hooks
internal import OCISpec
internal import Quantities
internal import State
internal import Syscalls

/// `escra doctor`.
struct DoctorCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "doctor",
    abstract: "Say whether it will work here: what is missing, what follows, and what to do.",
    discussion: """
      Each line is ok, a warning or a problem. It looks at the programs, the operator's config, the \
      low-level runtime, the engines, cgroups, supervised containers, and the kernel's features, \
      which it tries without disturbing anything. Run it as root. The exit code is 1 if there is a \
      problem: something would fail, or could not be tried.
      """)

  @Option(
    help: ArgumentHelp(
      "The operator's config, as the runtime is called with it; else \(OperatorConfig.defaultPath).",
      valueName: "file"))
  var escraConfig: String?

  @OptionGroup var common: CommonOptions

  @Flag(help: "Print a JSON object.")
  var json = false

  func run() throws {
    var diagnosis = Examination.diagnosis()
    let program = RuntimeProgram.path
    diagnosis.checks =
      RuntimeChecks(program: program, named: escraConfig).checks + EngineChecks().checks
      + ClusterChecks(program: program, named: escraConfig).checks
      + NodeChecks(program: program, root: StateRoot(path: common.statePath)).checks
    if geteuid() != 0 { diagnosis.admitNotRoot() }
    try Output.write(
      lines: json
        ? [diagnosis.json.text]
        : diagnosis.lines(columns: Output.columns))
    if !diagnosis.problems.isEmpty {
      throw Complaint(lines: diagnosis.problems)
    }
  }
}

/// Tries what a supervisor would use.
enum Examination {
  static func diagnosis() -> Diagnosis {
    let mounts = CgroupMount.parse(FileDescriptor.textIfReadable(of: "/proc/self/mountinfo") ?? "")
    let hasLine = CgroupMount.hasUnifiedMemory
    var findings: [Finding] = []
    var memory: Finding?
    for program in SchedulerProgram.all {
      if program.mindsMemory {
        memory = memoryFinding(program, hasLine)
      } else {
        findings.append(finding(program))
      }
    }
    return Diagnosis(
      prediction: findings[0], nets: Array(findings.dropFirst()), memory: memory,
      hasLine: hasLine, perf: perf(mounts),
      others: [writers, pressure, partitions(mounts), twoGroups])
  }

  private static func memoryFinding(_ program: SchedulerProgram, _ hasLine: Bool) -> Finding {
    Finding(
      name: program.name, use: "cgroup v2: detects demand for memory before memory.high is crossed",
      failure: hasLine
        ? failure { () throws(SystemError) in try program.attempt() } : "memory is in cgroup v1",
      instead: hasLine
        ? "demand for memory is detected after memory.high is crossed, and by reading use"
        : "not needed: cgroup v1 has thresholds below the limit")
  }

  private static func finding(_ program: SchedulerProgram) -> Finding {
    Finding(
      name: program.name,
      use: program.predicts
        ? "detects that a quota runs out, before the kernel throttles"
        : "before Linux 6.18: detects tasks that are throttled when they wake",
      failure: failure { () throws(SystemError) in try program.attempt() },
      instead: program.predicts
        ? "use is read every few milliseconds while a container is busy"
        : "not needed since Linux 6.18; before, the other program is used")
  }

  private static func perf(_ mounts: [CgroupMount]) -> Finding {
    // On a hybrid machine the unified hierarchy has it; on v1 alone a mount of its own.
    let mount =
      mounts.first { $0.controllers.isEmpty }
      ?? mounts.first {
        $0.controllers.contains("perf_event")
      }
    return Finding(
      name: "perf clock of a cgroup", use: "wakes the supervisor of an idle container without BPF",
      failure: failure { () throws(SystemError) in
        let directory = try FileDescriptor.open(
          mount?.point ?? "/sys/fs/cgroup", O_RDONLY | O_DIRECTORY)
        _ = try IdleWakeup(cgroup: directory, cpus: [0], after: 1_000_000)
      },
      instead: "without BPF the use of an idle container is read 20 times a second")
  }

  private static var writers: Finding {
    Finding(
      name: "fanotify", use: "names other processes that write a limit",
      failure: failure { () throws(SystemError) in
        let file = try FileDescriptor.open("/proc/self/exe", O_RDONLY)
        let watch = try WriteWatch(on: file, and: FileDescriptor.none)
        if !watch.namesWriters { throw SystemError("watch", "writes", errno: EPERM) }
      },
      instead: "writes are detected by inotify, which does not name the process")
  }

  private static var pressure: Finding {
    Finding(
      name: "pressure (PSI)",
      use: "distinguishes a container that waits for a CPU from an idle container",
      failure: failure { () throws(SystemError) in
        _ = try FileDescriptor.text(of: "/proc/pressure/cpu")
      },
      instead: "the limit of a container that waits for a CPU may be lowered; boot with psi=1")
  }

  private static var twoGroups: Finding {
    Finding(
      name: "CPU limits of cgroup v2",
      use:
        "programs in a container see its declared limits: the limits that move are in an outer cgroup",
      failure: CgroupMount.hasUnifiedCPU ? nil : "CPU limits are in cgroup v1",
      instead: "programs in a container see the limits that move")
  }

  private static func partitions(_ mounts: [CgroupMount]) -> Finding {
    let unified = mounts.first { $0.controllers.isEmpty }
    return Finding(
      name: "cpuset partitions", use: "the kernel keeps others off a strict container's CPUs",
      failure: failure { () throws(SystemError) in
        _ = try FileDescriptor.open(.isolatedCPUs, of: unified?.point ?? "", .v2, O_RDONLY)
      },
      instead: "strict: the cpusets of all other containers are rewritten")
  }

  private static func failure(_ body: () throws(SystemError) -> Void) -> String? {
    do throws(SystemError) {
      try body()
      return nil
    } catch { return error.symbol }
  }
}

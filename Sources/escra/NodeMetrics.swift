// SPDX-License-Identifier: Apache-2.0
internal import Control
internal import OCISpec
internal import Quantities
internal import Syscalls

/// What has series of its own, with the same labels on each.
protocol MetricSubject {
  /// What the names of its families begin with.
  static var prefix: String { get }
  /// The labels of all its series.
  var labels: MetricLabels { get }
}

/// What the metrics say of one container; nil for what is not known, which has no series.
struct ContainerMetrics: MetricSubject {
  static let prefix = "escra_container_"

  /// What becomes of its limits.
  enum State: String, CaseIterable {
    case starting, supervised, unsupervised, released
  }

  var id: String
  /// The runtime's root: an id means something only below it.
  var root: String
  var policy: PolicyName
  var application: String?
  /// What engines call it.
  var name: ContainerName?
  /// The Kubernetes namespace.
  var namespace: String?
  var state: State
  /// In nanocores.
  var cpuDeclared: Int64?
  /// In nanocores: the most that the limit may become.
  var cpuMost: Int64?
  /// In bytes.
  var memoryDeclared: Int64?
  /// In bytes: the most that the limit may become.
  var memoryMost: Int64?
  /// CPUs of its own.
  var ownCPUs: Int64?
  /// What the kernel says; nil where its cgroup is not known yet.
  var kernel: Kernel?
  /// What its supervisors have counted.
  var counters: CPUController.Counters?

  /// What the kernel's files say.
  struct Kernel {
    /// In nanocores.
    var cpuLimit: Int64?
    var cpuUsage: Nanoseconds?
    var cpuThrottled: Nanoseconds?
    var memoryLimit: Int64?
    var memoryUsage: Int64?
    var outOfMemoryKills: Int64?
  }

  /// The counters of the CPU limit; the limit of a strict container does not move.
  var cpuCounters: CPUController.Counters? { policy == .strict ? nil : counters }

  /// The counters that an earlier version has not kept.
  var newCounters: CPUController.Counters? {
    counters.flatMap { $0.supervisors > 0 ? $0 : nil }
  }

  /// The labels of all its series: `pod` and `container` are those of other exporters, and `name` is
  /// the id where no engine has named it.
  var labels: MetricLabels {
    MetricLabels([
      ("id", id), ("name", name?.text ?? id), ("pod", name?.pod), ("container", name?.container),
      ("policy", policy.rawValue), ("application", application), ("namespace", namespace),
      ("root", root),
    ])
  }
}

/// What the metrics say of one application; nil for what is not known.
struct ApplicationMetrics: MetricSubject {
  static let prefix = "escra_application_"

  /// One resource, in nanocores or bytes.
  struct Amount {
    /// What the application may use; nil before a broker has written it.
    var limit: Int64?
    /// What its members hold together.
    var granted: Int64
    /// What its members declare together.
    var declared: Int64
  }

  var name: String
  var namespace: String?
  var root: String
  var members: Int64
  var cpu: Amount
  /// nil where no member's memory is shared.
  var memory: Amount?

  /// The labels of all its series.
  var labels: MetricLabels {
    MetricLabels([("application", name), ("namespace", namespace), ("root", root)])
  }
}

/// All that the metrics of a node say at one moment.
struct NodeMetrics {
  var version = EscraVersion.current
  var containers: [ContainerMetrics]
  var applications: [ApplicationMetrics]

  /// The text, of one format: families in a fixed order, series in that of the containers.
  func text(_ format: MetricFormat) -> String {
    var text = ""
    let build = MetricFamily(
      name: "escra_build", kind: .info, help: "The version of escra that wrote these metrics.")
    build.write(to: &text, format, [(MetricLabels([("version", version)]).text, 1 as Int64?)])
    let counts = MetricFamily(
      name: "escra_containers", kind: .gauge, help: "Containers with a policy, by their state.")
    counts.write(
      to: &text, format,
      ContainerMetrics.State.allCases.map { state in
        let count = containers.count { $0.state == state }
        return (MetricLabels([("state", state.rawValue)]).text, Int64(count))
      })
    Self.write(containers, Self.container, to: &text, format)
    Self.write(applications, Self.application, to: &text, format)
    return text + (format == .openMetrics ? "# EOF\n" : "")
  }

  /// Of two subjects with the same labels the first one counts: no series comes twice.
  private static func write<Subject: MetricSubject>(
    _ subjects: [Subject], _ figures: [Figure<Subject>], to text: inout String,
    _ format: MetricFormat
  ) {
    var seen: Set<String> = []
    let labelled = subjects.map { (labels: $0.labels.text, subject: $0) }
      .filter { seen.insert($0.labels).inserted }
    for figure in figures {
      let family = MetricFamily(
        name: Subject.prefix + figure.name, kind: figure.kind, help: figure.help)
      family.write(to: &text, format, labelled.lazy.map { ($0.labels, figure.value($0.subject)) })
    }
  }

  /// A family of containers or applications, and where its values are found.
  private struct Figure<Subject: MetricSubject>: Sendable {
    let name: String
    let kind: MetricFamily.Kind
    let help: String
    let value: @Sendable (Subject) -> Int64?

    init(
      _ name: String, _ kind: MetricFamily.Kind, _ help: String,
      value: @escaping @Sendable (Subject) -> Int64?
    ) {
      (self.name, self.kind, self.help, self.value) = (name, kind, help, value)
    }
  }

  private static let container: [Figure<ContainerMetrics>] = [
    Figure("supervised", .gauge, "Whether a supervisor runs (1) or is missing (0).") {
      [.supervised: 1, .unsupervised: 0][$0.state]
    },
    Figure("supervisor_restarts", .counter, "Supervisors started after the first one.") {
      $0.newCounters.map { $0.supervisors - 1 }
    },
    Figure("cpu_limit_cores", .gauge, "CPU limit that the kernel enforces now.") {
      $0.kernel?.cpuLimit
    },
    Figure("cpu_declared_cores", .gauge, "CPU limit that the container declares.") {
      $0.cpuDeclared
    },
    Figure("cpu_limit_max_cores", .gauge, "Highest value that the CPU limit may take.") {
      $0.cpuMost
    },
    Figure("exclusive_cpus", .gauge, "CPUs that the container alone may use.") { $0.ownCPUs },
    Figure("cpu_usage_seconds", .counter, "CPU time that the container has used.") {
      $0.kernel?.cpuUsage
    },
    Figure("cpu_throttled_seconds", .counter, "Throttled time that the kernel has counted.") {
      $0.kernel?.cpuThrottled
    },
    Figure("cpu_stalled_seconds", .counter, "Time from a throttle to the raise of the limit.") {
      $0.cpuCounters?.stalled
    },
    Figure("cpu_limit_raises", .counter, "Times the CPU limit was raised.") {
      $0.cpuCounters?.raises
    },
    Figure("cpu_limit_returns", .counter, "Times the CPU limit was lowered.") {
      $0.cpuCounters?.returns
    },
    Figure("cpu_limit_refusals", .counter, "Times the kernel refused a CPU limit.") {
      $0.policy == .strict ? nil : $0.newCounters?.refusals
    },
    Figure("memory_limit_bytes", .gauge, "Memory limit that the kernel enforces now.") {
      $0.kernel?.memoryLimit
    },
    Figure("memory_declared_bytes", .gauge, "Memory limit that the container declares.") {
      $0.memoryDeclared
    },
    Figure("memory_limit_max_bytes", .gauge, "Highest value that the memory limit may take.") {
      $0.memoryMost
    },
    Figure("memory_usage_bytes", .gauge, "Memory in use, page cache included.") {
      $0.kernel?.memoryUsage
    },
    Figure("memory_limit_raises", .counter, "Times the memory limit was raised.") {
      $0.newCounters?.memoryRaises
    },
    Figure("memory_limit_returns", .counter, "Times the memory limit was lowered.") {
      $0.newCounters?.memoryReturns
    },
    Figure("memory_limit_refusals", .counter, "Times a needed memory limit was not given.") {
      $0.newCounters?.memoryRefusals
    },
    Figure("oom_kills", .counter, "Processes that the OOM killer killed.") {
      $0.kernel?.outOfMemoryKills
    },
  ]

  private static let application: [Figure<ApplicationMetrics>] = [
    Figure("members", .gauge, "Containers of the application.") { $0.members },
    Figure("cpu_limit_cores", .gauge, "CPU limit of the application.") { $0.cpu.limit },
    Figure("cpu_granted_cores", .gauge, "CPU limits of all members.") { $0.cpu.granted },
    Figure("cpu_declared_cores", .gauge, "CPU that all members declare.") { $0.cpu.declared },
    Figure("memory_limit_bytes", .gauge, "Memory limit of the application.") { $0.memory?.limit },
    Figure("memory_granted_bytes", .gauge, "Memory limits of all members.") { $0.memory?.granted },
    Figure("memory_declared_bytes", .gauge, "Memory that all members declare.") {
      $0.memory?.declared
    },
  ]
}

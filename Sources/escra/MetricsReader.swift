// SPDX-License-Identifier: Apache-2.0
internal import Application
internal import CPUSets
internal import Control
internal import Glibc
internal import Quantities
internal import State
internal import Syscalls

/// Reads what the metrics say: state files, /proc and cgroups.
///
/// It calls no supervisor and takes no lock: an idle supervisor is not woken, and a starting
/// supervisor finds its lock free.
struct MetricsReader {
  let root: StateRoot
  private let names = NameReader()

  init(root: StateRoot) { self.root = root }

  /// Reads all containers and applications.
  func read() -> NodeMetrics {
    let applications = applications()
    var found: [(metrics: ContainerMetrics, started: Int64)] = []
    let instances = root.instances()
    for path in instances {
      // An instance that is just being made, or removed, has no state to read.
      guard let directory = StateDirectory.ifThere(path), let state = directory.load(),
        var metrics = container(directory, state, applications)
      else { continue }
      metrics.name = names.name(of: state, at: path)
      metrics.namespace = metrics.namespace ?? metrics.name?.namespace
      found.append((metrics, state.readyTicks))
    }
    names.keep(instances)
    // An instance that is on its way out may still be beside the next one of the same id.
    found.sort {
      ($0.metrics.id, $0.metrics.root, -$0.started)
        < ($1.metrics.id, $1.metrics.root, -$1.started)
    }
    return NodeMetrics(
      containers: found.map(\.metrics),
      applications: applications.values.sorted {
        ($0.name, $0.namespace ?? "", $0.root) < ($1.name, $1.namespace ?? "", $1.root)
      })
  }

  /// - Returns: nil for a container that has ended, or ends while it is read.
  private func container(
    _ directory: borrowing StateDirectory, _ state: ContainerState,
    _ applications: [String: ApplicationMetrics]
  ) -> ContainerMetrics? {
    let probe = CgroupProbe(state)
    let status: ContainerMetrics.State
    switch state.phase {
    case _ where directory.releaseStage != nil: status = .released
    case _ where state.supervisor?.isAlive == true: status = .supervised
    case _ where state.unsupervised != nil: status = .unsupervised
    case .starting: status = .starting
    case .running: status = .unsupervised
    }
    if state.phase == .running, probe == nil { return nil }
    let application = state.membership.flatMap { applications[$0.room] }
    var metrics = ContainerMetrics(
      id: state.id, root: state.root, policy: state.policy, application: state.app,
      namespace: state.membership?.namespace, state: status,
      cpuDeclared: state.base.declaredCores, memoryDeclared: state.declaredMemory,
      ownCPUs: state.claim.map { Int64($0.held.count) },
      counters: CounterFile.counters(in: directory.descriptor))
    if status != .released {
      metrics.cpuMost = min(state.base.ceiling, application?.cpu.limit ?? .max)
      metrics.memoryMost = state.memory.map {
        min($0.bounds.ceiling, application?.memory?.limit ?? .max)
      }
    }
    guard let probe else { return metrics }
    // The last of the files that vanish with a group: whatever was read before was still there.
    metrics.kernel = ContainerMetrics.Kernel(
      cpuLimit: probe.cpuLimit.value.map { Int64(($0 * 1e9).rounded()) },
      cpuThrottled: probe.throttled,
      memoryLimit: probe.memoryLimit.value, memoryUsage: probe.memoryUse,
      outOfMemoryKills: probe.outOfMemoryKills)
    guard let usage = probe.usage else { return nil }
    metrics.kernel?.cpuUsage = usage
    return metrics
  }

  /// The applications by their directory: what brokers and members have written.
  private func applications() -> [String: ApplicationMetrics] {
    let names = FileDescriptor.entriesIfReadable(of: root.applications)
    var found: [String: ApplicationMetrics] = [:]
    for name in names {
      // A room that is just being removed has no members.
      guard let room = ApplicationDirectory.ifThere(root.applications + "/" + name),
        let scope = room.scope, let members = try? room.registered(), !members.isEmpty
      else { continue }
      let limits = room.limits()
      func amount(
        _ resource: SharedResource, _ limits: ApplicationLimits
      ) -> ApplicationMetrics.Amount? {
        let shares = members.compactMap { $0[resource] }
        guard !shares.isEmpty else { return nil }
        return ApplicationMetrics.Amount(
          // 0 is what a broker has not written yet.
          limit: limits.inForce > 0 ? limits.inForce : nil,
          granted: shares.reduce(0) { $0 + $1.held },
          declared: shares.reduce(0) { $0 + $1.declared })
      }
      guard let cpu = amount(.cpu, limits.cpu) else { continue }
      found[name] = ApplicationMetrics(
        name: scope.name, namespace: scope.namespace, root: scope.root,
        members: Int64(members.count),
        cpu: cpu, memory: amount(.memory, limits.memory),
        cluster: room.isClusterScoped ? room.clusterStatus : nil)
    }
    return found
  }
}

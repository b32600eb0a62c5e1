// SPDX-License-Identifier: Apache-2.0
package import Quantities

/// The limits that config.json declares for a container (`linux.resources`).
package struct DeclaredLimits: Equatable, Sendable {
  /// Quota over period; nil where there is none.
  package let cpu: CPUAmount?
  /// Bytes; nil where there is none.
  package let memory: Int64?

  /// Makes limits from their parts.
  package init(cpu: CPUAmount?, memory: Int64?) {
    self.cpu = cpu
    self.memory = memory
  }
}

/// What the node has to give.
package struct NodeCapacity: Equatable, Sendable {
  /// Its CPUs, in thousandths of one.
  package let millicores: Int64
  /// Its memory in bytes.
  package let memory: Int64

  /// Makes a capacity from its parts.
  package init(millicores: Int64, memory: Int64) {
    self.millicores = millicores
    self.memory = memory
  }
}

/// Which limit programs in a container see.
package enum VisibleLimit: String, Sendable {
  /// The most that the container may have.
  case declared
  /// The limit that moves.
  case current
}

/// What holds for one container: its annotations, its declared limits and the operator's config
/// made into one value, with nothing left to interpret.
package struct ContainerPolicy: Equatable, Sendable {
  /// The policy.
  package let name: PolicyName
  /// The control law that moves the limits.
  package let law: LawName
  /// How it is heard that it needs more CPU.
  package let hooks: HooksChoice
  /// The application that the container is a member of; nil for a container alone.
  package let app: String?
  /// Whether the application's limit spans nodes.
  package let spansNodes: Bool
  /// What the whole application may use, where an annotation says so.
  package let appCPU: CPUAmount?
  /// What the whole application may use in bytes, where an annotation says so.
  package let appMemory: Int64?
  /// What the container's history is kept under; nil where it has no name.
  package let profile: String?
  /// Whether a trace of its use is kept, too.
  package let isTraced: Bool
  /// The Kubernetes namespace that the application's name is from; nil outside of Kubernetes.
  package let scope: String?
  /// Between what the CPU limit moves.
  ///
  /// Without ``appCPU`` the ceiling of an application's member is its own share; what its peers
  /// add is the broker's to say.
  package let cpu: Bounds<CPUAmount>
  /// The most CPU that an annotation gives the container; nil where what it declares is the most,
  /// also after an update has changed that.
  package let askedCPUCeiling: CPUAmount?
  /// The most CPU that there is for it: the operator's ceiling and the node.
  package let cpuLimit: CPUAmount
  /// Between what the memory limit moves, in bytes.
  package let memory: Bounds<Int64>
  /// The most memory that an annotation gives the container in bytes; nil where what it declares
  /// is the most, also after an update has changed that.
  package let askedMemoryCeiling: Int64?
  /// The most memory that there is for it in bytes: the operator's ceiling and the node.
  package let memoryLimit: Int64
  /// The most that `io.escra.cpu.max` gives this container of its application's; nil where it says
  /// nothing.
  package let ownCPUMaximum: CPUAmount?
  /// The same of `io.escra.memory.max`, in bytes.
  package let ownMemoryMaximum: Int64?
  /// What `io.escra.cpu.min`, else the operator's floor, gives it at the least, also where that is
  /// more than it declares: in an application there may be more.
  package let ownCPUMinimum: CPUAmount
  /// The same of memory, in bytes.
  package let ownMemoryMinimum: Int64
  /// Whether anything asks for the memory limit to move; it is left alone otherwise.
  package let memoryIsManaged: Bool
  /// Which limit programs in it see.
  package let visible: VisibleLimit
  /// From -1000 to 1000; higher wins when the application runs short.
  package let priority: Int

  /// Decides what holds for a container.
  ///
  /// The policy is the annotation's, else the invocation's, else the operator's default, else
  /// `standard`. A sandbox container, and one whose annotation says `standard`, is `standard`
  /// whatever else its annotations say.
  ///
  /// - Parameters:
  ///   - annotations: All annotations of config.json, in order.
  ///   - variables: Of its environment, those that the config's `applicationFromEnv` names.
  ///   - declared: What config.json limits the container to.
  ///   - config: What the operator allows.
  ///   - node: What the node has.
  ///   - invocationDefault: What the program's name or `--escra-policy` says.
  /// - Returns: What holds; its name is `standard` where nothing was asked for.
  /// - Throws: ``PolicyError``: the first thing that is wrong, as one sentence.
  package static func resolve(
    annotations: [(key: String, value: String)], variables: [(name: String, value: String)] = [],
    declared: DeclaredLimits, config: OperatorConfig, node: NodeCapacity,
    invocationDefault: PolicyName?
  ) throws(PolicyError) -> ContainerPolicy {
    var annotations = Annotations(annotations)
    var name = PolicyName.standard
    var request = PolicyRequest()
    if !annotations.isSandbox {
      let entry = annotations[.policy]
      name = try selectName(entry, config, invocationDefault)
      // A container without a policy has nothing to do with us, whatever its environment says.
      if name != .standard, let variable = config.applicationFromEnv {
        annotations.add(variables, of: variable)
      }
      if name != .standard || entry == nil {
        if let error = annotations.firstError { throw error }
        try checkKeys(annotations, name)
        request = try PolicyRequest(annotations)
      }
    }
    return try ContainerPolicy(
      name, request, scope: annotations.namespace, declared: declared, config: config, node: node)
  }

  private static func selectName(
    _ annotation: Annotations.Entry?, _ config: OperatorConfig, _ invocationDefault: PolicyName?
  ) throws(PolicyError) -> PolicyName {
    let asked: PolicyName?
    if let annotation {
      asked = try PolicyName(annotation.checkedValue(), from: annotation.written)
    } else {
      asked = invocationDefault ?? config.defaultPolicy
    }
    guard let asked else { return .standard }
    if config.allowedPolicies.contains(asked) { return asked }
    throw .notAllowed(asked, key: annotation?.written, allowed: config.allowedPolicies)
  }

  /// Refuses keys that the policy would silently ignore.
  private static func checkKeys(
    _ annotations: Annotations, _ name: PolicyName
  ) throws(PolicyError) {
    switch name {
    case .standard:
      if let entry = annotations.firstSetting { throw .noPolicy(key: entry.written) }
    case .strict:
      if let entry = annotations.first(
        of: [.cpuMin, .cpuMax, .app, .appCPU, .appMemory, .appScope, .profile, .record, .visible])
      {
        throw .notWithStrict(key: entry.written)
      }
    case .reactive, .observe: break
    }
  }

  private init(
    _ name: PolicyName, _ request: PolicyRequest, scope: String?, declared: DeclaredLimits,
    config: OperatorConfig, node: NodeCapacity
  ) throws(PolicyError) {
    let nodeCPU = CPUAmount(millicores: node.millicores)
    let cpu = try request.cpu.resolve(
      .init(
        declared: declared.cpu, node: nodeCPU, floor: config.floor.cpu,
        ceiling: ("ceiling.cpu", config.ceiling.cpu), isMember: request.app != nil))
    let memory = try request.memory.resolve(
      .init(
        declared: declared.memory.map(ByteQuantity.init(bytes:)),
        node: ByteQuantity(bytes: node.memory), floor: config.floor.memory,
        ceiling: ("ceiling.memory", config.ceiling.memory), isMember: request.app != nil))
    self.name = name
    law = config.law
    hooks = config.hooks
    app = request.app?.value
    spansNodes = request.spansNodes
    appCPU = request.cpu.application?.value
    appMemory = request.memory.application?.value.bytes
    self.scope = scope
    profile = request.profile
    isTraced = request.isTraced
    self.cpu = cpu
    askedCPUCeiling =
      request.cpu.max == nil && request.cpu.application == nil ? nil : cpu.ceiling
    cpuLimit = min(nodeCPU, config.ceiling.cpu ?? nodeCPU)
    self.memory = Bounds(
      floor: memory.floor.bytes, ceiling: memory.ceiling.bytes, declared: declared.memory)
    askedMemoryCeiling =
      request.memory.max == nil && request.memory.application == nil ? nil : memory.ceiling.bytes
    memoryLimit = min(node.memory, config.ceiling.memory?.bytes ?? node.memory)
    ownCPUMaximum = request.cpu.max?.value
    ownMemoryMaximum = request.memory.max?.value.bytes
    ownCPUMinimum = request.cpu.min?.value ?? config.floor.cpu
    ownMemoryMinimum = (request.memory.min?.value ?? config.floor.memory).bytes
    memoryIsManaged = request.app != nil || !request.memory.isEmpty
    priority = request.priority
    visible = request.visible
  }
}

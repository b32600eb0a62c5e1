// SPDX-License-Identifier: Apache-2.0
internal import Application
internal import Control
internal import Glibc
internal import LiveLimits
internal import OCISpec
internal import Quantities
internal import State

/// What is different for a container that is to be a member of an application.
extension SupervisedStart {
  /// What it is to be a member of; nil for a container alone.
  ///
  /// Who only observes, or has CPUs of its own, is no member of anything.
  var membership: ApplicationMembership? {
    guard policy.name == .reactive, let app = policy.app else { return nil }
    var membership = ApplicationMembership(
      application: app, user: geteuid(), root: call.root, namespace: policy.scope,
      isClusterScoped: policy.spansNodes, priority: Int32(clamping: policy.priority),
      cpu: policy.appCPU?.nanocores,
      memory: policy.appMemory)
    membership.isNoChange = refusesConflicts
    membership.joinEarlierVersion(call.stateRoot)
    return membership
  }

  /// What it has to have of memory at first, in bytes.
  private var memoryNeeded: Int64 {
    let predicted = admitsPrediction ? memoryBase?.predictedLimit : nil
    return max(memoryFloor, memoryBase?.needed ?? predicted ?? 0)
  }

  /// The same of CPU.
  private var cpuNeeded: CPUAmount {
    let predicted = admitsPrediction ? prediction?.cpu ?? 0 : 0
    return max(floor, min(CPUAmount(nanocores: predicted), policy.cpuLimit))
  }

  private var admitsPrediction: Bool { history?.predict == .admit && prediction != nil }

  /// What else can be done where a prediction is in the way.
  private var waysOut: String {
    guard admitsPrediction, let profile = policy.profile else { return "" }
    return
      "; or have its history forgotten, from which that is known: escra history forget \(profile)"
  }

  /// Why there is no place in the application, as the supervisor was told.
  func refusal(_ why: NoPlace) -> String {
    switch why {
    case .refused(.cpu, .minima, let figure):
      "its other members need at least so much that \(CPUAmount(nanocores: figure)) of its CPU "
        + "is left, and this container needs \(cpuNeeded); write a smaller "
        + "io.escra.cpu.min, or a larger io.escra.app.cpu" + waysOut
    case .refused(.memory, .minima, let figure):
      "its other members need at least so much that \(ByteQuantity(bytes: figure)) of its "
        + "memory is left, and this container needs \(ByteQuantity(bytes: memoryNeeded)); "
        + "write a smaller io.escra.memory.min, or a larger io.escra.app.memory" + waysOut
    case .noShare(.cpu, let figure):
      noShare(
        "CPU", key: "cpu", left: CPUAmount(nanocores: figure).description,
        needed: cpuNeeded.description)
    case .noShare(.memory, let figure):
      noShare(
        "memory", key: "memory", left: ByteQuantity(bytes: figure).description,
        needed: ByteQuantity(bytes: memoryNeeded).description)
    case .refused(.cpu, .conflict, let figure):
      conflict(
        "cpu", asked: policy.appCPU?.description ?? "",
        running: CPUAmount(nanocores: figure).description)
    case .refused(.memory, .conflict, let figure):
      conflict(
        "memory", asked: ByteQuantity(bytes: policy.appMemory ?? 0).description,
        running: ByteQuantity(bytes: figure).description)
    case .taken: "its directory is another application's; choose another name"
    case .refused(_, .version, let figure):
      "its members are supervised by another version, \(figure); create them again, or use that version"
    case .full(.cpu):
      "its other members use all of its CPU, and \(floor) could not be recalled in time; "
        + "try again, or write a larger io.escra.app.cpu"
    case .full(.memory):
      "its other members use all of its memory, and \(ByteQuantity(bytes: memoryNeeded)) could not "
        + "be recalled in time; try again, or write a larger io.escra.app.memory"
    case .refused(_, .nonsense, _), .silence: "its other members did not answer in time"
    }
  }

  private func noShare(
    _ resource: String, key: String, left: String, needed: String
  ) -> String {
    "its other members on this node need at least so much that \(left) of the node's share of "
      + "\(resource) is left, and this container needs \(needed); escra-agent was asked for more, "
      + "and brought too little within 1 s; write a smaller io.escra.\(key).min, or a larger "
      + "io.escra.app.\(key)" + waysOut
  }

  private func conflict(_ key: String, asked: String, running: String) -> String {
    "io.escra.app.\(key) is \(asked), the running application has \(running), and the operator's "
      + "appConflict is refuse; write \(running), or have the operator change what is running: "
      + "escra app set \(policy.app ?? "") --\(key) \(asked)"
  }
}

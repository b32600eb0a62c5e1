// SPDX-License-Identifier: Apache-2.0
internal import Control
internal import Glibc
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
    membership.joinEarlierVersion(.system)
    return membership
  }

  /// What it has to have of memory at first, in bytes.
  private var memoryNeeded: Int64 {
    let predicted = admitsPrediction ? memoryBase?.first : nil
    return max(memoryFloor, memoryBase?.needed ?? predicted ?? 0)
  }

  /// The same of CPU.
  private var cpuNeeded: CPULimit {
    let predicted = admitsPrediction ? prediction?.cpu ?? 0 : 0
    return max(floor, min(CPULimit(nanocores: predicted), policy.cpuLimit))
  }

  private var admitsPrediction: Bool { history?.predict == .admit && prediction != nil }

  /// What else can be done where a prediction is in the way.
  private var waysOut: String {
    guard admitsPrediction, let profile = policy.profile else { return "" }
    return
      "; or have its history forgotten, from which that is known: escra history forget \(profile)"
  }

  /// Why there is no place in the application, as the supervisor was told.
  func refusal(_ resource: UInt8, _ reason: UInt8, _ figure: Int64) -> String {
    switch (resource, reason) {
    case (1, 2):
      "its other members need so much at the least that \(CPULimit(nanocores: figure)) of its CPU "
        + "is left, and this container needs \(cpuNeeded); write a smaller "
        + "io.escra.cpu.min, or a larger io.escra.app.cpu" + waysOut
    case (2, 2):
      "its other members need so much at the least that \(ByteQuantity(bytes: figure)) of its "
        + "memory is left, and this container needs \(ByteQuantity(bytes: memoryNeeded)); "
        + "write a smaller io.escra.memory.min, or a larger io.escra.app.memory" + waysOut
    case (1, 4):
      conflict(
        "cpu", asked: policy.appCPU?.description ?? "",
        running: CPULimit(nanocores: figure).description)
    case (2, 4):
      conflict(
        "memory", asked: ByteQuantity(bytes: policy.appMemory ?? 0).description,
        running: ByteQuantity(bytes: figure).description)
    case (0, 1): "its directory is another application's; choose another name"
    case (_, 1):
      "its members are supervised by another version, \(figure); create them anew, or use that one"
    case (1, 9):
      "its other members use all of its CPU, and \(floor) were not to be had back in time; "
        + "try again, or write a larger io.escra.app.cpu"
    case (2, 9):
      "its other members use all of its memory, and \(ByteQuantity(bytes: memoryNeeded)) were not "
        + "to be had back in time; try again, or write a larger io.escra.app.memory"
    default: "its other members did not answer in time"
    }
  }

  private func conflict(_ key: String, asked: String, running: String) -> String {
    "io.escra.app.\(key) is \(asked), the running application has \(running), and the operator's "
      + "appConflict is refuse; write \(running), or have the operator change what is running: "
      + "escra app set \(policy.app ?? "") --\(key) \(asked)"
  }
}

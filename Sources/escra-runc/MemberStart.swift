// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import LiveLimits
internal import OCISpec

/// What is different for a container that is to be a member of an application.
extension SupervisedStart {
  /// What it is to be a member of; nil for a container alone.
  ///
  /// Who only observes, or has CPUs of its own, is no member of anything.
  var membership: ApplicationMembership? {
    guard policy.name == .reactive, let app = policy.app else { return nil }
    return ApplicationMembership(
      application: app, user: geteuid(), root: call.root, namespace: policy.scope,
      priority: Int32(clamping: policy.priority), cpu: policy.appCPU?.nanocores,
      memory: policy.appMemory)
  }

  /// Why there is no place in the application, as the supervisor was told.
  func refusal(_ resource: UInt8, _ reason: UInt8, _ figure: Int64) -> String {
    switch (resource, reason) {
    case (1, 2):
      "its other members need so much at the least that \(CPULimit(nanocores: figure)) of its CPU "
        + "is left, and this container needs \(CPULimit(nanocores: base.floor)); write a smaller "
        + "io.escra.cpu.min, or a larger io.escra.app.cpu"
    case (2, 2):
      "its other members need so much at the least that \(ByteQuantity(bytes: figure)) of its "
        + "memory is left, and this container needs \(ByteQuantity(bytes: policy.memory.floor)); "
        + "write a smaller io.escra.memory.min, or a larger io.escra.app.memory"
    case (0, 1): "its directory is another application's; choose another name"
    case (_, 1):
      "its members are supervised by another version, \(figure); create them anew, or use that one"
    default: "its other members did not answer within a second"
    }
  }
}

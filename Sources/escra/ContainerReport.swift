// SPDX-License-Identifier: Apache-2.0
internal import Control
internal import OCISpec

/// What the kernel says of a limit.
enum Limit<Number: Equatable & Sendable>: Equatable, Sendable {
  /// It could not be read: the container is still starting, or gone.
  case unknown
  /// There is none.
  case unlimited
  /// There is this one.
  case at(Number)

  /// The number; nil where there is none or none is known.
  var value: Number? {
    if case .at(let value) = self { value } else { nil }
  }
}

/// One resource of one container.
struct Amounts<Number: Equatable & Sendable>: Equatable {
  /// What config.json or the last update says; nil for nothing.
  var declared: Number?
  /// What the kernel holds it to.
  var limit: Limit<Number> = .unknown
  /// The limit of the inner group, which programs in the container see; unknown for one group.
  var visible: Limit<Number> = .unknown
  /// What it uses; nil where that is not known.
  var used: Number?
}

extension CPUController.Counters {
  /// As a member of `escra ps --json`.
  var json: JSON {
    .object([
      ("predictions", .integer(predictions)), ("throttles", .integer(throttles)),
      ("ancestorThrottles", .integer(ancestorThrottles)), ("raises", .integer(raises)),
      ("returns", .integer(returns)), ("deferrals", .integer(deferrals)),
      ("stalledNanoseconds", .integer(stalled)),
    ])
  }
}

/// What one container has and uses at one moment.
struct ContainerReport: Equatable {
  var id: String
  /// What engines call it; nil where none has named it.
  var name: ContainerName?
  var root: String
  var bundle: String
  var policy: PolicyName
  var app: String?
  /// "starting", "running", or "ended" when its cgroup is gone.
  var phase: String
  /// The container's init.
  var pid: Int32?
  /// How demand for CPU is detected.
  var source: String?
  /// How demand for memory is detected; nil if its memory limit does not move.
  var memorySource: String?
  /// The supervisor's pid; nil where none is alive.
  var supervisor: Int32?
  /// Whether it was released: its engine controls its limits, and no supervisor is started.
  var isReleased = false
  /// Why it is left unsupervised; nil for a container that is not.
  var unsupervised: String?
  /// In cores.
  var cpu: Amounts<Double>
  /// The most the container may be given, in cores.
  var ceiling: Double
  /// What its application may use, in nanocores; nil outside of one, and where it is not known.
  var applicationCPU: Int64?
  /// The same in bytes of memory.
  var applicationMemory: Int64?
  /// The CPUs of its own, under `strict`, as a list.
  var ownCPUs: String?
  /// What the limit would be in cores, under `observe`.
  var wouldBe: Double?
  /// What happened to its CPU limit since it began; nil if no supervisor has counted.
  var counters: CPUController.Counters?
  /// In bytes.
  var memory: Amounts<Int64>

  /// The member of `escra ps --json`; it is a package contract.
  var json: JSON {
    var cpuMembers: [(name: String, value: JSON)] = [
      ("declared", .optional(cpu.declared)), ("limit", .optional(cpu.limit.value)),
      ("used", .optional(cpu.used)), ("visible", .optional(cpu.visible.value)),
    ]
    if policy == .strict { cpuMembers.append(("ownCPUs", .optional(ownCPUs))) }
    if policy == .observe { cpuMembers.append(("wouldBe", .optional(wouldBe))) }
    cpuMembers.append(("counters", counters?.json ?? .null))
    return .object([
      ("id", .string(id)), ("name", .optional(name?.text)),
      ("namespace", .optional(name?.namespace)),
      ("policy", .string(policy.rawValue)), ("app", .optional(app)),
      ("phase", .string(phase)), ("pid", .optional(pid)), ("source", .optional(source)),
      ("supervisorPid", .optional(supervisor)), ("released", .bool(isReleased)),
      ("unsupervised", .optional(unsupervised)),
      ("cpu", .object(cpuMembers)),
      (
        "memory",
        .object([
          ("declared", .optional(memory.declared)),
          ("limit", .optional(memory.limit.value)), ("used", .optional(memory.used)),
          ("visible", .optional(memory.visible.value)), ("source", .optional(memorySource)),
        ])
      ),
      ("root", .string(root)), ("bundle", .string(bundle)),
    ])
  }

  /// Whether it used more in the time between two looks than its limit is now.
  ///
  /// The limit may have been lowered in that time, and a short time may have parts of two periods
  /// in it, each with a quota of its own.
  var usesMoreThanItsLimit: Bool {
    guard let used = cpu.used, let limit = cpu.limit.value else { return false }
    return used > limit + 0.005
  }

  /// The id as tables show it.
  var shortID: String { escra.shortID(id) }

  /// The container in a sentence: "web (4f725930caf1)"; its id where it has no name.
  var label: String { containerLabel(name, id: id) }

  /// The container in a table.
  var nameCell: String { name?.text ?? shortID }
}

/// A container in a sentence.
func containerLabel(_ name: ContainerName?, id: String) -> String {
  guard let name, name.text != id else { return id }
  return "\(name.text) (\(shortID(id)))"
}

/// An id as tables show it: the 64 hex digits of an engine's id are unique after twelve.
func shortID(_ id: String) -> String {
  let isHex = id.utf8.allSatisfy { (48...57).contains($0) || (97...102).contains($0) }
  return id.utf8.count == 64 && isHex ? String(id.prefix(12)) : id
}

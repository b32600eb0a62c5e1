// SPDX-License-Identifier: Apache-2.0
internal import LiveLimits
internal import OCISpec
internal import Syscalls

/// `update`: somebody changes a container's limits.
///
/// What is asked for becomes the base of a supervised container: its supervisor is told first and
/// says what holds now, and the low-level runtime writes that. A supervisor that does not answer
/// is no obstacle; it will see the write and take it for what it is.
func update(_ call: RuntimeCall, _ settings: Settings) -> Never {
  for path in call.instances() {
    guard let instance = try? StateDirectory(opening: path) else { continue }
    if instance.releaseStage == .done { updateReleased(call, instance) }
    // Its CPUs stay its own also while its supervisor is being replaced.
    if instance.load()?.claim != nil { updateStrict(call, instance, settings) }
    if instance.isSupervised, let socket = try? instance.connect() {
      updateReactive(call, socket, movesMemory: instance.load()?.memory != nil)
    }
  }
  call.pass()
}

/// The low-level runtime writes all limits that it knows at each update, and of a container that was
/// released it knows those that a supervisor began with: so what is in force goes along.
///
/// What is asked for is what the container declares from now on, should it be adopted.
private func updateReleased(_ call: RuntimeCall, _ instance: borrowing StateDirectory) {
  guard var state = instance.load() else { return }
  let request = UpdateRequest(call)
  let found = LimitsInForce(of: state)
  var edit = ConfigEdit()
  if request.quota == nil, let cpu = found.cpu {
    edit.cpuQuota = cpu.quota ?? -1
    if request.period == nil { edit.cpuPeriod = cpu.period }
  }
  if request.memory == nil, request.swap == nil, let memory = found.memory {
    edit.memoryLimit = memory < MemoryBase.unlimited ? memory : -1
    edit.memorySwap = memory < MemoryBase.unlimited ? state.memory?.memorySwap(at: memory) : nil
  }
  if request.cpus == nil, let cpus = found.cpus { edit.cpus = cpus.description }
  if let quota = request.quota { state.base.declared.quota = quota > 0 ? quota : nil }
  if let period = request.period, period > 0 { state.base.declared.period = period }
  if let memory = request.memory { state.memory?.declared = memory > 0 ? memory : nil }
  if request.quota != nil || request.period != nil || request.memory != nil {
    try? instance.save(state)
  }
  request.pass(edit)
}

private func updateReactive(
  _ call: RuntimeCall, _ socket: borrowing ControlSocket, movesMemory: Bool
) {
  let request = UpdateRequest(call)
  var edit = cpuEdit(request, socket)
  if movesMemory { editMemory(&edit, request, socket) }
  request.pass(edit)
}

/// The low-level runtime writes the memory limit that it knows at each update, whatever is asked for:
/// below what the container has grown to cgroup v1 refuses it, and the update fails; on v2 it kills.
private func editMemory(
  _ edit: inout ConfigEdit, _ request: UpdateRequest, _ socket: borrowing ControlSocket
) {
  guard socket.send(.updateMemory(limit: request.memory, swap: request.swap)),
    case .message(.applyMemory(let limit, let swap)) = socket.receive(within: 200)
  else { return }
  edit.memoryLimit = limit
  edit.memorySwap = swap
}

private func cpuEdit(
  _ request: UpdateRequest, _ socket: borrowing ControlSocket
) -> ConfigEdit {
  guard request.quota != nil || request.period != nil,
    socket.send(.update(quota: request.quota, period: request.period)),
    case .message(.apply(let limit)) = socket.receive(within: 200)
  else { return ConfigEdit() }
  // crun takes a period that a request does not name for the default one.
  let isSame =
    (request.quota.map { max($0, -1) } ?? (limit.quota ?? -1)) == (limit.quota ?? -1)
    && (request.period ?? CPUQuota.defaultPeriod) == limit.period && request.quota != nil
    && !request.repeatsCPUFlag
  return isSame
    ? ConfigEdit() : ConfigEdit(cpuQuota: limit.quota ?? -1, cpuPeriod: limit.period)
}

/// An update of a container that has CPUs of its own.
///
/// A CPU limit is a number of CPUs to it, a CPU set says which, and neither may be somebody
/// else's. No quota is ever written, and each update carries the CPUs along: runc 1.1 forgets those
/// that a request does not name.
private func updateStrict(
  _ call: RuntimeCall, _ instance: borrowing StateDirectory, _ settings: Settings
) {
  let request = UpdateRequest(call)
  do {
    let cpus = try claim(request, instance, settings)
    var edit = ConfigEdit(cpuQuota: request.quota == nil ? nil : -1, cpus: cpus.description)
    if instance.load()?.memory != nil, let socket = try? instance.connect() {
      editMemory(&edit, request, socket)
    }
    request.pass(edit)
  } catch let refusal as Refusal {
    call.fail(refusal.sentence)
  } catch let error as any (Error & CustomStringConvertible) {
    call.fail("the CPUs of a strict container cannot be changed: \(error.description)")
  } catch { call.fail("an unforeseen error") }
}

/// The CPUs that the container is to have from now on.
private func claim(
  _ request: UpdateRequest, _ instance: borrowing StateDirectory, _ settings: Settings
) throws -> CPUSet {
  let quota = request.quota.flatMap { $0 > 0 ? $0 : nil }
  guard quota != nil || request.cpus != nil else {
    return instance.load()?.claim?.held ?? CPUSet()
  }
  let asked = try DeclaredCPUs(
    bandwidth: quota.map {
      CPUBandwidth(quota: $0, period: request.period ?? CPUBandwidth.defaultPeriod)
    },
    cpuset: request.cpus
  ).reservation()
  return try StrictUpdate.carryOut(
    asked, reserved: settings.reservedCPUs(), of: instance, root: .system)
}

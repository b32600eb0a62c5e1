// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import LiveLimits
internal import OCISpec
internal import Syscalls

/// `update`: somebody changes a container's limits.
///
/// What is asked for becomes the base of a supervised container: its supervisor is told first and
/// says what holds now, and the low-level runtime writes that. A supervisor that does not answer
/// is no obstacle; it will see the write and take it for what it is. One that is dead will not, and
/// the next one finds what is in force and what is written down: so that is where it is said.
func update(_ call: RuntimeCall, _ settings: Settings) -> Never {
  let instances = call.instances()
  guard !instances.isEmpty else { call.pass() }
  let request = UpdateRequest(call)
  if request.isRefusable { request.pass() }
  for path in instances {
    guard let instance = try? StateDirectory(opening: path) else { continue }
    if let edit = refusedSwap(request, instance) { request.pass(edit) }
    if instance.releaseStage == .done { updateUnsupervised(request, instance) }
    // Its CPUs stay its own also while its supervisor is being replaced.
    if instance.load()?.claim != nil { updateStrict(call, request, instance, settings) }
    let answered = supervised(by: instance) { (edit, socket) throws(Death) in
      try editCPU(&edit, request, socket, of: instance)
      if isOfMemory(request, instance) { try editMemory(&edit, request, socket, of: instance) }
    }
    if let answered { request.pass(answered) }
    // The lock keeps the next one out until this process is the low-level runtime.
    if instance.claim() { updateUnsupervised(request, instance) }
  }
  request.pass()
}

/// A memory limit above that of memory and swap together: the low-level runtime refuses it by the
/// limits that the container declares, where it would not by those that are in force.
private func refusedSwap(
  _ request: UpdateRequest, _ instance: borrowing StateDirectory
) -> ConfigEdit? {
  guard request.memory != nil || request.swap != nil, let base = instance.load()?.memory,
    let memory = request.memory ?? base.declared,
    let swap = request.swap ?? base.declared.flatMap({ base.memorySwap(at: $0) }),
    swap > 0 && swap < memory
  else { return nil }
  return ConfigEdit(memoryLimit: memory, memorySwap: swap)
}

/// The connection to a container's supervisor; where that has just died, to the next one.
///
/// The keeper hears of a death at once, and one that was just started looks around: half a second.
/// That begins when the kernel is done with who has died, and who has the lock by then is the next
/// one, which does not listen yet.
private func supervisor(
  of instance: borrowing StateDirectory, until last: Nanoseconds
) -> ControlSocket? {
  var deadline = monotonicNow()
  func wait() { deadline = min(monotonicNow() + 500_000_000, last) }
  wait()
  while monotonicNow() < deadline {
    if instance.isSupervised {
      if !instance.isSupervisorEnding, let socket = try? instance.connect() { return socket }
      wait()
    } else if Launcher.startKeeperIfNone(.system) {
      // One that was dying when this call began still had its lock.
      usleep(50_000)
    }
    usleep(5_000)
  }
  return nil
}

/// The low-level runtime writes all limits that it knows at each update, and of a container that
/// nobody supervises it knows those that a supervisor began with: so what is in force goes along.
///
/// What is asked for is what the container declares from now on, should it be adopted or supervised
/// again.
private func updateUnsupervised(
  _ request: UpdateRequest, _ instance: borrowing StateDirectory
) {
  guard var state = instance.load(), state.cpuDirectory != nil else { return }
  let found = LimitsInForce(of: state)
  let declared = state.base.declared.redeclared(quota: request.quota, period: request.period)
  // Its application's limit holds, and more is for that to grant; who was released has left it.
  let isShared = state.membership != nil && instance.releaseStage != .done
  var edit = ConfigEdit()
  if let cpu = found.cpu {
    let isTooMuch = isShared && declared.nanocores ?? .max > cpu.nanocores ?? .max
    if request.quota == nil || isTooMuch { edit.cpuQuota = cpu.quota ?? -1 }
    if request.period == nil || isTooMuch { edit.cpuPeriod = cpu.period }
  }
  editUnsupervisedMemory(&edit, request, &state, held: found.memory, isShared: isShared)
  if request.cpus == nil, let cpus = found.cpus { edit.cpus = cpus.description }
  // What the kernel will refuse, the low-level runtime will say.
  if declared.isAcceptable { state.base.declared = declared }
  try? instance.save(state)
  request.pass(edit)
}

/// Changes what is declared of memory, too, where nobody supervises.
private func editUnsupervisedMemory(
  _ edit: inout ConfigEdit, _ request: UpdateRequest, _ state: inout ContainerState,
  held: Int64?, isShared: Bool
) {
  let asked = request.memory.map { $0 > 0 ? $0 : MemoryBase.unlimited }
  if let held, (request.memory == nil && request.swap == nil) || (isShared && asked ?? 0 > held) {
    edit.memoryLimit = held < MemoryBase.unlimited ? held : -1
    edit.memorySwap = held < MemoryBase.unlimited ? state.memory?.requestedSwap(at: held) : nil
  }
  state.redeclare(memory: request.memory, swap: request.swap)
}

private struct Death: Error {}

/// What a container's supervisor says is to be written; of one that dies over it, the next one.
///
/// - Returns: nil where nobody supervises, or it dies each time for seconds.
private func supervised(
  by instance: borrowing StateDirectory, adding edit: ConfigEdit = ConfigEdit(),
  _ ask: (inout ConfigEdit, borrowing ControlSocket) throws(Death) -> Void
) -> ConfigEdit? {
  let deadline = monotonicNow() + 5_000_000_000
  while let socket = supervisor(of: instance, until: deadline) {
    do throws(Death) {
      var edit = edit
      try ask(&edit, socket)
      return edit
    } catch {}
  }
  return nil
}

/// Whether an update changes memory, or would by what the low-level runtime knows of it.
private func isOfMemory(_ request: UpdateRequest, _ instance: borrowing StateDirectory) -> Bool {
  request.memory != nil || instance.load()?.memory != nil
}

/// What a supervisor answers; nil where it is silent.
///
/// The process ends before its files are closed: a connection may be to one that is dead already.
private func answer(
  to message: ControlMessage, from socket: borrowing ControlSocket,
  of instance: borrowing StateDirectory
) throws(Death) -> ControlMessage? {
  guard socket.send(message) else { throw Death() }
  switch socket.receive(within: 200) {
  case .message(let answer): return answer
  case .nonsense: return nil
  case .nothing:
    // One that is stopped hears of it later.
    if instance.isSupervisorEnding { throw Death() }
    return nil
  case .end: throw Death()
  }
}

/// The low-level runtime writes the memory limit that it knows at each update, whatever is asked for:
/// below what the container has grown to cgroup v1 refuses it, and the update fails; on v2 it kills.
private func editMemory(
  _ edit: inout ConfigEdit, _ request: UpdateRequest, _ socket: borrowing ControlSocket,
  of instance: borrowing StateDirectory
) throws(Death) {
  let message = ControlMessage.updateMemory(limit: request.memory, swap: request.swap)
  guard
    case .applyMemory(let limit, let swap) = try answer(to: message, from: socket, of: instance)
  else { return }
  edit.memoryLimit = limit
  edit.memorySwap = swap
}

private func editCPU(
  _ edit: inout ConfigEdit, _ request: UpdateRequest, _ socket: borrowing ControlSocket,
  of instance: borrowing StateDirectory
) throws(Death) {
  guard request.quota != nil || request.period != nil,
    case .apply(let limit) = try answer(
      to: .update(quota: request.quota, period: request.period), from: socket, of: instance)
  else { return }
  // Where a request does not name a period, crun takes it for the default one, and does not tell
  // systemd of the quota, which has the old one again after the next reload.
  let isSame =
    request.quota.map { max($0, -1) } == limit.quota ?? -1 && request.period == limit.period
    && !request.repeatsCPUFlag
  if isSame { return }
  edit.cpuQuota = limit.quota ?? -1
  edit.cpuPeriod = limit.period
}

/// An update of a container that has CPUs of its own.
///
/// A CPU limit is a number of CPUs to it, a CPU set says which, and neither may be somebody
/// else's. No quota is ever written, and each update carries the CPUs along: runc 1.1 forgets those
/// that a request does not name.
private func updateStrict(
  _ call: RuntimeCall, _ request: UpdateRequest, _ instance: borrowing StateDirectory,
  _ settings: Settings
) {
  do {
    let cpus = try claim(request, instance, settings)
    var edit = ConfigEdit(
      cpuQuota: request.quota == nil ? nil : ConfigEdit.noQuota, cpus: cpus.description)
    if isOfMemory(request, instance) { editStrictMemory(&edit, request, instance) }
    request.pass(edit)
  } catch let refusal as Refusal {
    call.fail(refusal.sentence)
  } catch let error as any (Error & CustomStringConvertible) {
    call.fail("the CPUs of a strict container cannot be changed: \(error.description)")
  } catch { call.fail("an unforeseen error") }
}

/// The memory's part of an update, by the supervisor or, where there is none, written down for it.
private func editStrictMemory(
  _ edit: inout ConfigEdit, _ request: UpdateRequest, _ instance: borrowing StateDirectory
) {
  let answered = supervised(by: instance, adding: edit) { (edit, socket) throws(Death) in
    try editMemory(&edit, request, socket, of: instance)
  }
  if let answered { return edit = answered }
  guard instance.claim(), var state = instance.load() else { return }
  let held = LimitsInForce(of: state).memory
  editUnsupervisedMemory(&edit, request, &state, held: held, isShared: false)
  try? instance.save(state)
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

// SPDX-License-Identifier: Apache-2.0
internal import CPUSets
internal import Control
internal import Glibc
internal import LiveLimits
internal import OCISpec
internal import Quantities
internal import State
internal import Syscalls

/// `update`: an engine or a user changes a container's limits.
///
/// An update of a supervised container is one transaction. It is noted first, by the container's
/// supervisor or, where there is none, by this process. Then the low-level runtime is called, with
/// what holds now in the place of what is asked for. How that ends says whether the update becomes
/// what the container declares. A supervisor that does not answer is no obstacle: it will see the
/// write and take it for what it is.
func update(_ call: RuntimeCall, _ settings: Settings) -> Never {
  let instances = call.instances()
  guard !instances.isEmpty else { call.pass() }
  let request = UpdateRequest(call)
  if request.isRefusable { request.pass() }
  for path in instances {
    guard let instance = StateDirectory.ifThere(path) else { continue }
    let state = instance.load()
    if state?.innerName != nil, state?.claim == nil || instance.releaseStage == .done {
      updateInner(request, instance)
    }
    if let edit = refusedSwap(request, instance) { request.pass(edit) }
    if instance.releaseStage == .done { updateUnsupervised(request, instance) }
    // Its CPUs stay its own also while its supervisor is being replaced.
    if state?.claim != nil { updateStrict(call, request, instance, settings) }
    refuseAboveAncestors(request, instance)
    let edit = supervised(by: instance) { (edit, socket) throws(Retry) in
      try editCPU(&edit, request, socket, of: instance)
      if isOfMemory(request, instance) { try editMemory(&edit, request, socket, of: instance) }
      return request.run(edit)
    }
    if let edit { exit(edit) }
    // The lock keeps the next one out until the low-level runtime has ended.
    if instance.claim() { updateUnsupervised(request, instance) }
  }
  request.pass()
}

/// An update of a container whose limits move in a group around its own: the low-level runtime writes
/// that, and the supervisor, or the next one, takes it as it is.
private func updateInner(
  _ request: UpdateRequest, _ instance: borrowing StateDirectory
) {
  var edit = ConfigEdit()
  if instance.load()?.innerName?.hasSuffix(".scope") == true { edit = request.withPeriod }
  guard instance.releaseStage == .done else {
    if let code = updateUnseen(request, edit, instance, carryOut: request.run) { exit(code) }
    request.pass(edit)
  }
  // runc 1.1 forgets CPUs that a request does not name.
  if request.cpus == nil, let state = instance.load(), state.claim != nil {
    edit.cpus = LimitsInForce(of: state).cpus?.description
  }
  let code = request.run(edit)
  if code == 0 { Release.followUpdate(instance) }
  exit(code)
}

/// Tells the supervisor of a container with two groups of an update that does not show in the kernel:
/// to the very limit that the container's own group has, which is more than is declared; or to a
/// memory limit below the most that an annotation allows.
///
/// In the place of such a memory limit the low-level runtime writes the most. The runtime writes what it
/// knows again at each update, and systemd at each reload: a limit below the use would kill.
///
/// - Parameters:
///   - request: What is asked for.
///   - edit: What is written instead in any case.
///   - instance: The container's instance.
///   - carryOut: Calls the low-level runtime, and returns its exit code.
/// - Returns: The exit code; nil where the update shows in the kernel, or a supervisor is about to look.
func updateUnseen(
  _ request: UpdateRequest, _ edit: ConfigEdit, _ instance: borrowing StateDirectory,
  carryOut: (ConfigEdit) -> CInt
) -> CInt? {
  guard let state = instance.load() else { return nil }
  let cpu = state.base.declared.redeclared(quota: request.quota, period: request.period)
  let isOfCPU =
    state.claim == nil && cpu != state.base.declared && cpu == state.base.inner
  let most = mostMemory(request, state)
  guard isOfCPU || most != nil else { return nil }
  let code = supervised(by: instance) { (next, socket) throws(Retry) in
    next = edit
    if isOfCPU {
      let message = ControlMessage.update(quota: request.quota, period: request.period)
      _ = try noted(answer(to: message, from: socket, of: instance), request)
    }
    if most != nil { try editMemory(&next, request, socket, of: instance) }
    return carryOut(next)
  }
  if let code { return code }
  guard let most, instance.claim() else { return nil }
  note(PendingUpdate(memory: request.memory, swap: request.swap), request, instance)
  var next = edit
  (next.memoryLimit, next.memorySwap) = most
  let end = carryOut(next)
  settle(instance, isTaken: end == 0)
  return end
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
      if !instance.isSupervisorEnding, let socket = instance.connectIfPossible() {
        return socket
      }
      wait()
    } else if Launcher.startKeeperIfNone(StateRoot(ofInstance: instance.path)) {
      // One that was dying when this call began still had its lock.
      usleep(50_000)
    }
    usleep(5_000)
  }
  return nil
}

/// The low-level runtime writes all limits that it knows at each update, and of a container that
/// no supervisor lives it knows those that a supervisor began with: so what is in force goes along.
///
/// What is asked for is what the container declares from now on, should it be adopted or supervised
/// again.
private func updateUnsupervised(
  _ request: UpdateRequest, _ instance: borrowing StateDirectory
) {
  guard let state = instance.load(), state.cpuDirectory != nil else { return }
  let found = LimitsInForce(of: state)
  let declared = state.base.declared.redeclared(quota: request.quota, period: request.period)
  // The kernel will refuse it, and the low-level runtime will say so.
  guard declared.isAcceptable else { request.pass() }
  // Its application's limit holds, and more is for that to grant; who was released has left it.
  let isReleased = instance.releaseStage == .done
  let isShared = state.membership != nil && !isReleased
  var edit = ConfigEdit()
  var applied = declared
  if let cpu = found.cpu {
    let isTooMuch = isShared && declared.nanocores ?? .max > cpu.nanocores ?? .max
    if request.quota == nil || isTooMuch { edit.cpuQuota = cpu.quota ?? -1 }
    if request.period == nil || isTooMuch { edit.cpuPeriod = cpu.period }
    if isTooMuch { applied = cpu }
  }
  editUnsupervisedMemory(
    &edit, request, state, held: found.memory, isShared: isShared, isReleased: isReleased)
  if request.cpus == nil, let cpus = found.cpus { edit.cpus = cpus.description }
  let isOfCPU = request.quota != nil || request.period != nil
  note(
    PendingUpdate(
      cpu: isOfCPU ? declared : nil, applied: isOfCPU ? applied : nil, memory: request.memory,
      swap: request.swap), request, instance)
  let code = request.run(edit)
  settle(instance, isTaken: code == 0, memory: edit.memoryLimit ?? request.memory)
  exit(code)
}

/// Notes an update where no supervisor does.
func note(
  _ update: PendingUpdate, _ request: UpdateRequest, _ instance: borrowing StateDirectory
) {
  do throws(SystemError) { try instance.note(update) } catch { request.refuse(error) }
}

/// cgroup v1 refuses a CPU limit above that of a group above the container's; what is written for it
/// may be less, and would be taken.
private func refuseAboveAncestors(
  _ request: UpdateRequest, _ instance: borrowing StateDirectory
) {
  guard request.quota != nil || request.period != nil, let state = instance.load(),
    let asked = state.base.declared.redeclared(quota: request.quota, period: request.period)
      .nanocores
  else { return }
  let above = state.limitAbove(StateRoot(ofInstance: instance.path))
  // The low-level runtime has the words for what the kernel refuses.
  if asked > above.inForce { request.pass() }
  if asked > above.declared {
    request.refuse(
      "the group above it has a limit of \(CPUAmount(nanocores: above.declared)) CPUs, which is less"
    )
  }
}

/// Ends a noted update where no supervisor does.
///
/// - Parameters:
///   - instance: The container's instance.
///   - isTaken: Whether the low-level runtime took it.
///   - memory: The memory limit that the runtime wrote, in bytes, -1 for none; nil for none that is known.
func settle(_ instance: borrowing StateDirectory, isTaken: Bool, memory: Int64? = nil) {
  guard var state = instance.load() else { return }
  state.settleUpdate(isTaken: isTaken)
  // What systemd knows of its scope from now on.
  if isTaken, let memory, state.memory?.isScope == true {
    state.memory?.told = memory > 0 ? memory : MemoryLimit.unlimited
  }
  // Not saved, the note stays, and the kernel's limit decides when a supervisor reads it.
  try? instance.save(state)
}

/// The supervisor has died before the low-level runtime was called, or takes care of another update.
struct Retry: Error {}

/// Has a container's supervisor note an update, carries it out, and tells how that ended.
///
/// - Parameters:
///   - instance: The container's instance.
///   - carryOut: Asks what is to be written, and calls the low-level runtime.
/// - Returns: The runtime's exit code; nil if no supervisor lives, or each one dies.
func supervised(
  by instance: borrowing StateDirectory,
  _ carryOut: (inout ConfigEdit, borrowing ControlSocket) throws(Retry) -> CInt
) -> CInt? {
  // Another update may take as long as its low-level runtime does.
  let deadline = monotonicNow() + 12_000_000_000
  while let socket = supervisor(of: instance, until: deadline) {
    do throws(Retry) {
      var edit = ConfigEdit()
      let code = try carryOut(&edit, socket)
      tell(instance, socket, isTaken: code == 0)
      return code
    } catch { usleep(5_000) }
  }
  return nil
}

/// Tells a supervisor how the low-level runtime ended; where it has died meanwhile, the next one.
private func tell(
  _ instance: borrowing StateDirectory, _ socket: borrowing ControlSocket, isTaken: Bool
) {
  let message = ControlMessage.updateEnded(isTaken: isTaken)
  // One that is stopped, or of an older version, hears of it later or not at all.
  func hasEnded(_ socket: borrowing ControlSocket) -> Bool {
    do throws(Retry) { _ = try answer(to: message, from: socket, of: instance) } catch {
      return true
    }
    return false
  }
  if !hasEnded(socket) { return }
  let deadline = monotonicNow() + 5_000_000_000
  while instance.load() != nil, let next = supervisor(of: instance, until: deadline) {
    if !hasEnded(next) { return }
  }
  if instance.claim() { settle(instance, isTaken: isTaken) }
}

/// What a supervisor answers; nil where it is silent.
///
/// The process ends before its files are closed: a connection may be to one that is dead already.
private func answer(
  to message: ControlMessage, from socket: borrowing ControlSocket,
  of instance: borrowing StateDirectory
) throws(Retry) -> ControlMessage? {
  guard socket.send(message) else { throw Retry() }
  switch socket.receive(within: 200) {
  case .message(.updating): throw Retry()
  case .message(let answer): return answer
  case .nonsense: return nil
  case .nothing:
    // One that is stopped hears of it later.
    if instance.isSupervisorEnding { throw Retry() }
    return nil
  case .end: throw Retry()
  }
}

/// An answer, unless it is that the update cannot be noted: then the call ends here.
private func noted(_ answer: ControlMessage?, _ request: UpdateRequest) -> ControlMessage? {
  guard case .notNoted(let errno) = answer else { return answer }
  request.refuse(SystemError("write", "the container's state", errno: errno))
}

/// The low-level runtime writes the memory limit that it knows at each update, whatever is asked for:
/// below what the container has grown to cgroup v1 refuses it, and the update fails; on v2 it kills.
func editMemory(
  _ edit: inout ConfigEdit, _ request: UpdateRequest, _ socket: borrowing ControlSocket,
  of instance: borrowing StateDirectory
) throws(Retry) {
  let message = ControlMessage.updateMemory(limit: request.memory, swap: request.swap)
  guard
    case .applyMemory(let limit, let swap) = try noted(
      answer(to: message, from: socket, of: instance), request)
  else { return }
  edit.memoryLimit = limit
  edit.memorySwap = swap
}

private func editCPU(
  _ edit: inout ConfigEdit, _ request: UpdateRequest, _ socket: borrowing ControlSocket,
  of instance: borrowing StateDirectory
) throws(Retry) {
  guard request.quota != nil || request.period != nil,
    case .apply(let limit) = try noted(
      answer(
        to: .update(quota: request.quota, period: request.period), from: socket, of: instance),
      request)
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

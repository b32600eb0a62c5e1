// SPDX-License-Identifier: Apache-2.0
internal import CPUSets
internal import Glibc
internal import LiveLimits
internal import OCISpec
internal import Quantities
internal import State

/// An update of a container that has CPUs of its own.
///
/// A CPU limit is a number of CPUs to it, a CPU set says which, and neither may be another
/// container's. No quota is ever written, and each update carries the CPUs along: runc 1.1 forgets
/// those that a request does not name.
func updateStrict(
  _ call: RuntimeCall, _ request: UpdateRequest, _ instance: borrowing StateDirectory,
  _ settings: Settings
) {
  func carryOut(_ edit: ConfigEdit) -> CInt {
    runStrict(call, request, edit, instance, settings)
  }
  if instance.load()?.innerName != nil {
    exit(
      updateUnseen(request, ConfigEdit(), instance, carryOut: carryOut) ?? carryOut(ConfigEdit()))
  }
  guard isOfMemory(request, instance) else { exit(carryOut(ConfigEdit())) }
  let code = supervised(by: instance) { (edit, socket) throws(Retry) in
    try editMemory(&edit, request, socket, of: instance)
    return carryOut(edit)
  }
  if let code { exit(code) }
  var edit = ConfigEdit()
  let isOurs = instance.claim()
  if isOurs, let state = instance.load() {
    let held = LimitsInForce(of: state).memory
    editUnsupervisedMemory(
      &edit, request, state, held: held, isShared: false,
      isReleased: instance.releaseStage == .done)
    note(PendingUpdate(memory: request.memory, swap: request.swap), request, instance)
  }
  let end = carryOut(edit)
  if isOurs { settle(instance, isTaken: end == 0) }
  exit(end)
}

/// Gives a strict container other CPUs, and calls the low-level runtime; where that refuses, it has
/// the CPUs back that it asked for before.
private func runStrict(
  _ call: RuntimeCall, _ request: UpdateRequest, _ edit: ConfigEdit,
  _ instance: borrowing StateDirectory, _ settings: Settings
) -> CInt {
  let before = instance.load()?.claim
  do {
    var edit = edit
    edit.cpus = try claim(request, instance, settings).description
    if request.quota != nil { edit.cpuQuota = ConfigEdit.noQuota }
    let code = request.run(edit)
    if code != 0, let before, before.asked != instance.load()?.claim?.asked {
      _ = try StrictUpdate.carryOut(
        restoring: before, reserved: settings.reservedCPUs(), of: instance, root: settings.stateRoot
      )
    }
    return code
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
      CFSBandwidth(quota: $0, period: request.period ?? CFSBandwidth.defaultPeriod)
    },
    cpuset: request.cpus
  ).reservation()
  return try StrictUpdate.carryOut(
    asked, reserved: settings.reservedCPUs(), of: instance, root: settings.stateRoot)
}

// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import LiveLimits
internal import OCISpec
internal import Syscalls

/// `update`: somebody changes a container's limits.
///
/// What is asked for becomes the base of a supervised container: its supervisor is told first and
/// says what holds now, and the low-level runtime writes that. A supervisor that does not answer
/// is no obstacle; it will see the write and take it for what it is.
func update(_ call: RuntimeCall) -> Never {
  guard let socket = supervisor(of: call) else { call.pass() }
  var call = call
  if let resources = call.invocation.resources {
    updateFromDocument(&call, resources, socket)
  } else {
    updateFromFlags(&call, socket)
  }
  call.pass()
}

/// The CPU limit part of a request; nil for what is not in it.
private struct Request {
  let quota: Int64?
  let period: Int64?

  /// Tells the supervisor; nil when nothing has to be rewritten.
  func negotiate(_ socket: borrowing ControlSocket) -> CPUQuota? {
    guard quota != nil || period != nil,
      socket.send(.update(quota: quota, period: period)),
      case .message(.apply(let limit)) = socket.receive(within: 200)
    else { return nil }
    let isSame =
      (quota.map { max($0, -1) } ?? (limit.quota ?? -1)) == (limit.quota ?? -1)
      && (period ?? limit.period) == limit.period && quota != nil
    return isSame ? nil : limit
  }
}

private func supervisor(of call: RuntimeCall) -> ControlSocket? {
  for path in call.instances() {
    if let directory = try? StateDirectory(opening: path), directory.isSupervised,
      let socket = try? directory.connect()
    {
      return socket
    }
  }
  return nil
}

private func updateFromFlags(_ call: inout RuntimeCall, _ socket: borrowing ControlSocket) {
  func number(_ flag: String) -> Int64? {
    // 0 is "not set" to runc, and what is no number is runc's to refuse.
    call.invocation.flags[flag].flatMap { Int64($0.text) }.flatMap { $0 == 0 ? nil : $0 }
  }
  let request = Request(quota: number("cpu-quota"), period: number("cpu-period"))
  guard let limit = request.negotiate(socket) else { return }
  // The last of several flags wins, so ours go last, behind all that the caller wrote.
  for entry in call.invocation.flags.entries
  where entry.name == "cpu-quota" || entry.name == "cpu-period" {
    call.vector.remove(Array(entry.arguments))
  }
  call.vector.insert(
    ["--cpu-quota=\(limit.quota ?? -1)", "--cpu-period=\(limit.period)"],
    after: call.invocation.verbIndex ?? 1)
}

private func updateFromDocument(
  _ call: inout RuntimeCall, _ resources: FlagValue, _ socket: borrowing ControlSocket
) {
  let isStandardInput = resources.text == "-"
  let file: FileDescriptor
  if isStandardInput {
    file = FileDescriptor(owning: dup(STDIN_FILENO))
  } else {
    guard let opened = try? FileDescriptor.open(call.vector.bytes(of: resources), O_RDONLY) else {
      return
    }
    file = opened
  }
  guard var bytes = try? file.readAll() else { return }
  var isRewritten = false
  if let document = try? ResourcesUpdate(bytes) {
    let request = Request(quota: document.cpuQuota, period: document.cpuPeriod)
    if let limit = request.negotiate(socket) {
      bytes = document.rewriting(cpuQuota: limit.quota ?? -1, period: limit.period)
      isRewritten = true
    }
  }
  // What was read from a pipe is gone from it, so it is given on in any case.
  guard isStandardInput || isRewritten else { return }
  do throws(SystemError) {
    try replaceStandardInput(with: bytes)
  } catch { call.fail(error.description) }
  if !isStandardInput {
    call.vector.replace(resources.index, with: resources.offset > 0 ? "--resources=-" : "-")
  }
}

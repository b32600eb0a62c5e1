// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import LiveLimits
internal import OCISpec
internal import Syscalls

/// The CPU part of an `update`: what is asked for, and how to ask for something else instead.
///
/// runc takes a request from flags or, where `--resources` names one, from a document, and then no
/// flag counts.
struct UpdateRequest {
  /// CPU time a period in µs, -1 for no limit; nil for what is not in the request.
  private(set) var quota: Int64?
  /// The period in µs.
  private(set) var period: Int64?
  /// The CPUs, as a list.
  private(set) var cpus: String?
  /// Memory in bytes, -1 for no limit.
  private(set) var memory: Int64?
  /// Memory and swap together in bytes, -1 for no limit.
  private(set) var swap: Int64?

  private let call: RuntimeCall
  private let resources: FlagValue?
  private var document: ResourcesUpdate?
  /// What was read from a pipe is gone from it, and has to be given on.
  private var bytes: [UInt8]?
  private let isStandardInput: Bool

  /// Reads a request; what cannot be read is the low-level runtime's to refuse.
  init(_ call: RuntimeCall) {
    self.call = call
    resources = call.invocation.resources
    isStandardInput = resources?.text == "-"
    guard let resources else {
      // 0 is "not set" to runc, and what is no number is runc's to refuse.
      func number(_ flag: String) -> Int64? {
        call.invocation.flags[flag].flatMap { Int64($0.text) }.flatMap { $0 == 0 ? nil : $0 }
      }
      quota = number("cpu-quota")
      period = number("cpu-period")
      memory = byteCount(call.invocation.flags["memory"]?.text)
      swap = byteCount(call.invocation.flags["memory-swap"]?.text)
      cpus = call.invocation.flags["cpuset-cpus"].flatMap { $0.text.isEmpty ? nil : $0.text }
      return
    }
    let file =
      isStandardInput
      ? FileDescriptor(owning: dup(STDIN_FILENO))
      : (try? FileDescriptor.open(call.vector.bytes(of: resources), O_RDONLY)) ?? .none
    guard file.isOpen, let bytes = try? file.readAll() else { return }
    self.bytes = bytes
    guard let document = try? ResourcesUpdate(bytes) else { return }
    self.document = document
    quota = document.cpuQuota
    period = document.cpuPeriod
    cpus = document.cpus.flatMap { $0.isEmpty ? nil : $0 }
    memory = document.memoryLimit
    swap = document.memorySwap
  }

  /// Whether a flag of the CPU limit is there twice: the last counts here, as to runc, and to crun
  /// the first.
  var repeatsCPUFlag: Bool {
    resources == nil
      && ["cpu-quota", "cpu-period"].contains { name in
        call.invocation.flags.entries.filter { $0.name == name }.count > 1
      }
  }

  /// Makes the call, as it came.
  func pass() -> Never { pass(ConfigEdit()) }

  /// Makes the call with other values in the place of what was asked for.
  func pass(_ edit: ConfigEdit) -> Never {
    var call = call
    if resources == nil {
      rewriteFlags(&call, edit)
    } else {
      rewriteDocument(&call, edit)
    }
    call.pass()
  }

  private func rewriteFlags(_ call: inout RuntimeCall, _ edit: ConfigEdit) {
    let values = [
      ("cpu-quota", edit.cpuQuota.map { "\($0)" }), ("cpu-period", edit.cpuPeriod.map { "\($0)" }),
      ("cpuset-cpus", edit.cpus), ("memory", edit.memoryLimit.map { "\($0)" }),
      ("memory-swap", edit.memorySwap.map { "\($0)" }),
    ]
    for (flag, value) in values {
      guard let value else { continue }
      for entry in call.invocation.flags.entries where entry.name == flag {
        call.vector.remove(Array(entry.arguments))
      }
      call.vector.insert(["--\(flag)=\(value)"], after: call.invocation.verbIndex ?? 1)
    }
  }

  private func rewriteDocument(_ call: inout RuntimeCall, _ edit: ConfigEdit) {
    guard let resources, let bytes else { return }
    let isRewritten = edit != ConfigEdit() && document != nil
    guard isStandardInput || isRewritten else { return }
    let given = isRewritten ? document?.applying(edit) ?? bytes : bytes
    do throws(SystemError) {
      try replaceStandardInput(with: given)
    } catch { call.fail(error.description) }
    if !isStandardInput {
      call.vector.replace(resources.index, with: resources.offset > 0 ? "--resources=-" : "-")
    }
  }
}

/// A number of bytes as runc's flags take it: "67108864", "64m", "-1"; nil for what is none, which is
/// runc's to refuse.
private func byteCount(_ text: String?) -> Int64? {
  guard var text = text?.utf8[...], !text.isEmpty else { return nil }
  if text.last == UInt8(ascii: "b") || text.last == UInt8(ascii: "B") { text = text.dropLast() }
  let units: [UInt8: Int64] = [
    UInt8(ascii: "k"): 1 << 10, UInt8(ascii: "m"): 1 << 20, UInt8(ascii: "g"): 1 << 30,
    UInt8(ascii: "t"): 1 << 40,
  ]
  let factor = text.last.flatMap { units[$0 | 0x20] }
  if factor != nil { text = text.dropLast() }
  guard let number = Int64(Substring(text)), number != 0 else { return nil }
  let (product, isTooMuch) = number.multipliedReportingOverflow(by: factor ?? 1)
  return isTooMuch ? nil : max(product, -1)
}

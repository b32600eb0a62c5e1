// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import OCISpec
internal import Quantities
internal import Syscalls

/// An `update` of CPU and memory limits: what is asked for, and how to ask for something else instead.
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

  /// Whether something in it is no value, or none beside another: all of it is the low-level runtime's
  /// to refuse, and nothing of it is in force.
  private(set) var isRefusable = false

  private let call: RuntimeCall
  private let resources: FlagValue?
  private var document: ResourcesUpdate?
  /// What was read from a pipe is gone from it, and has to be given on.
  private var bytes: [UInt8]?
  private let isStandardInput: Bool
  /// Whether it cannot be read once more: a pipe by a name.
  private var isSpent = false

  /// Reads a request; what cannot be read is the low-level runtime's to refuse.
  init(_ call: RuntimeCall) {
    self.call = call
    resources = call.invocation.resources
    isStandardInput = resources?.text == "-"
    guard let resources else {
      var isRefusable = false
      func number(_ flag: String, _ read: (String) -> Int64?) -> Int64? {
        guard let text = call.invocation.flags[flag]?.text, !text.isEmpty else { return nil }
        let number = read(text)
        if number == nil { isRefusable = true }
        // 0 is "not set" to runc.
        return number == 0 ? nil : number
      }
      quota = number("cpu-quota") { Int64($0) }
      period = number("cpu-period") { Int64($0) }
      memory = number("memory", byteCount)
      swap = number("memory-swap", byteCount)
      cpus = call.invocation.flags["cpuset-cpus"].flatMap { $0.text.isEmpty ? nil : $0.text }
      self.isRefusable = isRefusable || isSwapTooLittle
      return
    }
    guard let bytes = read(resources) else { return }
    self.bytes = bytes
    // What is no document is the low-level runtime's to refuse.
    guard let document = try? ResourcesUpdate(bytes) else { return }
    self.document = document
    quota = document.cpuQuota
    period = document.cpuPeriod
    cpus = document.cpus.flatMap { $0.isEmpty ? nil : $0 }
    memory = document.memoryLimit
    swap = document.memorySwap
    isRefusable = isSwapTooLittle
  }

  /// The longest document that is read, in bytes.
  private static let largestDocument = 1 << 20
  /// For how long a pipe may be silent, in milliseconds.
  private static let patience: CInt = 5_000

  /// The document; nil where the low-level runtime meets the same error, and says it.
  private mutating func read(_ resources: FlagValue) -> [UInt8]? {
    do throws(SystemError) {
      if isStandardInput {
        return try FileDescriptor(owning: dup(STDIN_FILENO)).readAll(limit: Self.largestDocument)
      }
      let path = call.vector.bytes(of: resources)
      let file = try FileDescriptor.open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY)
      let status = try file.status()
      if status.isRegularFile { return try file.readAll(limit: Self.largestDocument) }
      if status.isDirectory { return nil }
      isSpent = true
      return try Self.drain(file)
    } catch {
      if error.step == "open" { return nil }
      call.fail(
        "\(resources.text): \(error); write the resources to a regular file of at most "
          + "\(Self.largestDocument) bytes")
    }
  }

  /// Reads a pipe to its end; one whose other end is never opened must not keep us for ever.
  private static func drain(_ file: borrowing FileDescriptor) throws(SystemError) -> [UInt8] {
    var bytes: [UInt8] = []
    while bytes.count <= largestDocument {
      var waiting = pollfd(fd: file.number, events: Int16(POLLIN), revents: 0)
      if try retrying("wait for", "a pipe", { poll(&waiting, 1, patience) }) == 0 {
        throw SystemError("wait for", "a pipe", errno: ETIMEDOUT)
      }
      let count = bytes.count
      try withUnsafeTemporaryAllocation(byteCount: 65_536, alignment: 16) {
        buffer throws(SystemError) in
        let read = try file.read(into: buffer)
        bytes += UnsafeRawBufferPointer(rebasing: buffer[..<read])
      }
      if bytes.count == count { return bytes }
    }
    throw SystemError("read", "a pipe", errno: EFBIG)
  }

  /// Memory and swap together are never less than memory.
  private var isSwapTooLittle: Bool {
    guard let memory, let swap, swap > 0 else { return false }
    return memory < 0 || swap < memory
  }

  /// Whether a flag of the CPU limit is there twice: the last counts here, as to runc, and to crun
  /// the first.
  var repeatsCPUFlag: Bool {
    resources == nil
      && ["cpu-quota", "cpu-period"].contains { name in
        call.invocation.flags.entries.filter { $0.name == name }.count > 1
      }
  }

  /// The CPU limit with the period that crun assumes for a request without one; nothing for runc.
  ///
  /// crun tells systemd of a quota only if the request has a period.
  var withPeriod: ConfigEdit {
    let name = call.runtime.split(separator: "/").last ?? ""
    guard let quota, period == nil, name.utf8.starts(with: "crun".utf8), !repeatsCPUFlag else {
      return ConfigEdit()
    }
    return ConfigEdit(cpuQuota: quota, cpuPeriod: CFSBandwidth.defaultPeriod)
  }

  /// Makes the call, as it came.
  func pass() -> Never { pass(ConfigEdit()) }

  /// Makes the call with other values in the place of what was asked for.
  func pass(_ edit: ConfigEdit) -> Never { edited(edit).pass() }

  /// The same, and waits for the low-level runtime.
  ///
  /// - Returns: Its exit code.
  func run(_ edit: ConfigEdit) -> CInt { edited(edit).run() }

  /// Ends the call: the update cannot be carried out as a whole.
  func refuse(_ reason: String) -> Never {
    call.fail("the limits of \(call.invocation.id?.text ?? "") stay as they are: \(reason)")
  }

  /// Ends the call: the update cannot be noted.
  func refuse(_ error: SystemError) -> Never {
    refuse("the update cannot be noted in /run/escra (\(error.symbol)); make room there")
  }

  private func edited(_ edit: ConfigEdit) -> RuntimeCall {
    var call = call
    if resources == nil {
      rewriteFlags(&call, edit)
    } else {
      rewriteDocument(&call, edit)
    }
    return call
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
    guard isStandardInput || isSpent || isRewritten else { return }
    let given = isRewritten ? document?.applying(edit) ?? bytes : bytes
    do throws(SystemError) {
      try replaceStandardInput(with: given)
    } catch { call.fail(error.description) }
    if !isStandardInput {
      call.vector.replace(resources.index, with: resources.offset > 0 ? "--resources=-" : "-")
    }
  }
}

/// A number of bytes as runc's flags take it (go-units' RAMInBytes): "67108864", "1.5g", "256MiB",
/// "-1"; nil for what is none.
private func byteCount(_ text: String) -> Int64? {
  if text == "-1" { return -1 }
  let digits = text.utf8.prefix {
    (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) || $0 == UInt8(ascii: ".")
  }
  guard let number = Double(Substring(digits)) else { return nil }
  var unit = text.utf8[digits.endIndex...]
  if unit.first == UInt8(ascii: " ") { unit = unit.dropFirst() }
  let name = Substring(unit).lowercased()
  guard
    let power = ["", "k", "m", "g", "t", "p"].firstIndex(where: { letter in
      [letter, letter + "b"].contains(name) || (!letter.isEmpty && name == letter + "ib")
    })
  else { return nil }
  return Int64(exactly: (number * Double(1 << (10 * power))).rounded(.towardZero))
}

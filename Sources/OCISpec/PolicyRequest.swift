// SPDX-License-Identifier: Apache-2.0
internal import Quantities

/// A value that an annotation asks for, with its key and its text for error messages.
struct Asked<Value> {
  let key: String
  let text: String
  let value: Value
}

/// What a container's annotations ask for, read but not yet weighed against anything.
struct PolicyRequest {
  /// The longest value that is read, in bytes: that of a DNS name, and of any label value.
  static let longestValue = 253
  /// The priorities there are.
  static let priorities = -1000...1000

  var app: Asked<String>?
  var spansNodes = false
  var cpu = BoundsRequest<CPUAmount>()
  var memory = BoundsRequest<ByteQuantity>()
  var priority = 0
  var visible = VisibleLimit.declared
  var profile: String?
  var isTraced = false

  /// A container that asks for nothing.
  init() {}

  /// Reads all values but the policy's.
  init(_ annotations: Annotations) throws(PolicyError) {
    func asked<Value>(
      _ key: AnnotationKey, _ read: (String, String) throws(PolicyError) -> Value
    ) throws(PolicyError) -> Asked<Value>? {
      guard let entry = annotations[key] else { return nil }
      let value = try read(entry.written, entry.checkedValue())
      return Asked(key: entry.written, text: entry.value, value: value)
    }
    app = try asked(.app) { key, text throws(PolicyError) in
      try Self.name(key, text, "application")
    }
    let scope = try asked(.appScope, Self.scope)
    if let scope, app == nil {
      throw .badValue(
        key: scope.key, value: scope.text,
        why: "has no effect without an application; add \(AnnotationKey.app.name)")
    }
    spansNodes = scope?.value ?? false
    profile =
      try asked(.profile) { key, text throws(PolicyError) in
        try Self.name(key, text, "profile")
      }?.value ?? annotations.podProfile
    isTraced = try asked(.record, Self.recorded)?.value ?? false
    cpu.application = try asked(.appCPU, Self.cpu)
    cpu.min = try asked(.cpuMin, Self.cpuFloor)
    cpu.max = try asked(.cpuMax, Self.cpu)
    memory.application = try asked(.appMemory, Self.memory)
    memory.min = try asked(.memoryMin, Self.memory)
    memory.max = try asked(.memoryMax, Self.memory)
    priority = try asked(.priority, Self.priority)?.value ?? 0
    visible = try asked(.visible, Self.visible)?.value ?? .declared
  }

  private static func name(
    _ key: String, _ text: String, _ kind: String
  ) throws(PolicyError) -> String {
    if isName(text) { return text }
    throw .badValue(
      key: key, value: text,
      why: "is no \(kind) name; write 1 to 63 of a-z, 0-9, - and ., "
        + "with a letter or a digit at both ends")
  }

  /// Whether the application spans nodes.
  private static func scope(_ key: String, _ text: String) throws(PolicyError) -> Bool {
    if text == "cluster" || text == "node" { return text == "cluster" }
    throw .badValue(
      key: key, value: text, why: "is no scope of an application; write node or cluster")
  }

  /// What is kept of its use beside a record of each run.
  private static func recorded(_ key: String, _ text: String) throws(PolicyError) -> Bool {
    if text == "trace" { return true }
    throw .badValue(key: key, value: text, why: "is nothing that can be recorded; write trace")
  }

  /// 1 to 63 of a-z, 0-9, - and ., with a letter or a digit at both ends.
  static func isName(_ text: String) -> Bool {
    func isAlphanumeric(_ byte: UInt8?) -> Bool {
      guard let byte else { return false }
      return byte >= UInt8(ascii: "a") && byte <= UInt8(ascii: "z")
        || byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9")
    }
    return text.utf8.count <= 63 && isAlphanumeric(text.utf8.first)
      && isAlphanumeric(text.utf8.last)
      && text.utf8.allSatisfy {
        isAlphanumeric($0) || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: ".")
      }
  }

  private static func visible(_ key: String, _ text: String) throws(PolicyError) -> VisibleLimit {
    if let visible = VisibleLimit(rawValue: text) { return visible }
    throw .badValue(key: key, value: text, why: "is no limit to show; write declared or current")
  }

  private static func cpu(_ key: String, _ text: String) throws(PolicyError) -> CPUAmount {
    do throws(QuantityError) {
      return try CPUAmount(asked: text)
    } catch {
      throw .badValue(key: key, value: text, why: error.description)
    }
  }

  private static func cpuFloor(_ key: String, _ text: String) throws(PolicyError) -> CPUAmount {
    do throws(QuantityError) {
      return try CPUAmount(askedFloor: text)
    } catch {
      throw .badValue(key: key, value: text, why: error.description)
    }
  }

  private static func memory(_ key: String, _ text: String) throws(PolicyError) -> ByteQuantity {
    do throws(QuantityError) {
      return try ByteQuantity(asked: text)
    } catch {
      throw .badValue(key: key, value: text, why: error.description)
    }
  }

  private static func priority(_ key: String, _ text: String) throws(PolicyError) -> Int {
    if let priority = Int(text), priorities.contains(priority) { return priority }
    throw .badValue(
      key: key, value: text,
      why: "is no priority; write an integer from \(priorities.lowerBound) "
        + "to \(priorities.upperBound)")
  }
}

extension Annotations {
  /// The profile of a container of a pod that names none: its own name, in the pod's namespace.
  var podProfile: String? {
    guard namespace != nil, let containerName, PolicyRequest.isName(containerName) else {
      return nil
    }
    return containerName
  }
}

extension Annotations.Entry {
  /// The value, if it is not too long to be one.
  func checkedValue() throws(PolicyError) -> String {
    let limit = PolicyRequest.longestValue
    if value.utf8.count > limit { throw .tooLong(key: written, value: value, limit: limit) }
    return value
  }
}

extension CPUAmount {
  /// Reads a limit that an annotation asks for: a quantity that the kernel can enforce.
  init(asked text: String) throws(QuantityError) {
    self = try CPUAmount(text)
    if self < .smallest { throw QuantityError(.belowSmallestQuota, accepted: Self.accepted) }
  }

  /// Reads a floor that an annotation asks for.
  init(askedFloor text: String) throws(QuantityError) {
    self = try CPUAmount(text)
    if self < .smallestFloor {
      throw QuantityError(.belowSmallestFloor, accepted: Self.accepted)
    }
  }
}

extension ByteQuantity {
  /// Reads a limit that an annotation asks for: a quantity in whole pages, at least one.
  init(asked text: String) throws(QuantityError) {
    self = try ByteQuantity(text).roundedUpToPages
    if bytes == 0 { throw QuantityError(.noMemory, accepted: ByteQuantity.accepted) }
  }
}

// SPDX-License-Identifier: Apache-2.0
internal import Quantities
internal import Syscalls

/// How the values of the operator's config are read; every error names the path, the value and
/// what is accepted.
extension JSONValue {
  func refusal(_ why: String) -> OperatorConfigError.Problem {
    .badValue(path: path.isEmpty ? "the document" : path, shown: shown, why: why)
  }

  /// Calls `body` with every member of an object, all of whose keys must be cases of `Key`.
  func forEachMember<Key: RawRepresentable<String> & CaseIterable>(
    of _: Key.Type,
    _ body: (Key, borrowing JSONValue) throws(OperatorConfigError.Problem) -> Void
  ) throws(OperatorConfigError.Problem) {
    let known = Key.allCases.map { path.isEmpty ? $0.rawValue : "\(path).\($0.rawValue)" }
    guard isObject else { throw refusal("is no object; write one with \(listed(known, "and"))") }
    try forEachMember { name, value throws(OperatorConfigError.Problem) in
      guard let key = Key(rawValue: name) else { throw .unknownKey(value.path, known: known) }
      try body(key, value)
    }
  }

  private func list<Element>(
    _ accepted: String, _ read: (borrowing JSONValue) throws(OperatorConfigError.Problem) -> Element
  ) throws(OperatorConfigError.Problem) -> [Element] {
    guard isArray else { throw refusal("is no array; write \(accepted)") }
    var result: [Element] = []
    try forEachElement { element throws(OperatorConfigError.Problem) in
      result.append(try read(element))
    }
    return result
  }

  func absolutePaths() throws(OperatorConfigError.Problem) -> [String] {
    try list("an array of absolute paths") { element throws(OperatorConfigError.Problem) in
      try element.absolutePath()
    }
  }

  func absolutePath() throws(OperatorConfigError.Problem) -> String {
    guard let text = string, text.utf8.first == UInt8(ascii: "/") else {
      throw refusal("is no absolute path; write a path that begins with /")
    }
    return text
  }

  /// The longest path of a state root, in bytes: the name of a Unix socket has 107, and what is below
  /// takes up to 77 of them.
  private static var longestStateRoot: Int { 30 }

  /// A directory that no other program uses.
  func stateRoot() throws(OperatorConfigError.Problem) -> String {
    let text = try absolutePath()
    let parts = text.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
    let isPlain = parts.dropFirst().allSatisfy {
      !$0.isEmpty && !$0.elementsEqual(".".utf8) && !$0.elementsEqual("..".utf8)
    }
    guard isPlain, parts.count > 2, text.utf8.count <= Self.longestStateRoot else {
      throw refusal(
        "is no place for state; write a directory of at most \(Self.longestStateRoot) bytes such as "
          + "\"/run/escra-b\"")
    }
    return text
  }

  /// The name of a variable of the environment.
  func variable() throws(OperatorConfigError.Problem) -> String {
    func isPlain(_ byte: UInt8) -> Bool {
      byte >= UInt8(ascii: "A") && byte <= UInt8(ascii: "Z") || byte == UInt8(ascii: "_")
        || byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9")
    }
    guard let text = string, (1...64).contains(text.utf8.count), text.utf8.allSatisfy(isPlain),
      text.utf8.first.map({ $0 >= UInt8(ascii: "A") }) == true
    else {
      throw refusal("is no name of a variable; write one such as \"ESCRA_APP\"")
    }
    return text
  }

  func count(of range: ClosedRange<Int64>) throws(OperatorConfigError.Problem) -> Int64 {
    if let integer, range.contains(Int64(integer)) { return Int64(integer) }
    throw refusal(
      "is out of range; write an integer from \(range.lowerBound) to \(range.upperBound)")
  }

  /// A time as people write it: "30d", "12h", "45m", "90s".
  func seconds() throws(OperatorConfigError.Problem) -> Int64 {
    let units: [(letter: Character, seconds: Int64)] = [
      ("d", 86_400), ("h", 3600), ("m", 60), ("s", 1),
    ]
    if let string, let unit = units.first(where: { $0.letter == string.last }),
      let number = Int32(string.dropLast()), number > 0, string.first != "+"
    {
      return Int64(number) * unit.seconds
    }
    throw refusal("is no time; write one such as \"30d\", \"12h\", \"45m\" or \"90s\"")
  }

  func choice<Choice: RawRepresentable<String> & CaseIterable>(
    of _: Choice.Type, called kind: String = "known value"
  ) throws(OperatorConfigError.Problem) -> Choice {
    if let choice = string.flatMap(Choice.init(rawValue:)) { return choice }
    throw refusal("is no \(kind); write \(listed(Choice.allCases.map(\.rawValue)))")
  }

  func policy() throws(OperatorConfigError.Problem) -> PolicyName {
    try choice(of: PolicyName.self, called: "policy")
  }

  func policies() throws(OperatorConfigError.Problem) -> [PolicyName] {
    let accepted = "an array of \(PolicyName.accepted)"
    let policies = try list(accepted) { element throws(OperatorConfigError.Problem) in
      try element.policy()
    }
    if policies.isEmpty { throw refusal("allows nothing; write \(accepted)") }
    return policies
  }

  func law() throws(OperatorConfigError.Problem) -> LawName {
    try choice(of: LawName.self, called: "control law")
  }

  private func quantity<Value>(
    _ accepted: String, _ read: (String) throws(QuantityError) -> Value
  ) throws(OperatorConfigError.Problem) -> Value {
    guard let text = string ?? integer.map(String.init) else {
      throw refusal("is neither a string nor an integer; write \(accepted)")
    }
    do throws(QuantityError) {
      return try read(text)
    } catch {
      throw refusal(error.description)
    }
  }

  func cpu() throws(OperatorConfigError.Problem) -> CPUAmount {
    try quantity(CPUAmount.accepted) { text throws(QuantityError) in try CPUAmount(asked: text) }
  }

  func memory() throws(OperatorConfigError.Problem) -> ByteQuantity {
    try quantity(ByteQuantity.accepted) { text throws(QuantityError) in
      try ByteQuantity(asked: text)
    }
  }

  func bytes() throws(OperatorConfigError.Problem) -> Int64 {
    try quantity(ByteQuantity.accepted) { text throws(QuantityError) in
      try ByteQuantity(text).bytes
    }
  }

  /// A list as the kernel prints it: "0-3,8" (Documentation/admin-guide/cgroup-v2.rst, cpuset).
  func cpuList() throws(OperatorConfigError.Problem) -> String {
    if let string,
      string.utf8.split(separator: UInt8(ascii: ","), omittingEmptySubsequences: false)
        .allSatisfy(isCPURange)
    {
      return string
    }
    throw refusal("is no list of CPUs; write one such as \"0-1,4\"")
  }
}

/// Whether `text` is one CPU or a first and a last one: "4", "0-3".
///
/// No kernel has a CPU 8192.
private func isCPURange(_ text: Substring.UTF8View) -> Bool {
  let ends = text.split(separator: UInt8(ascii: "-"), omittingEmptySubsequences: false)
    .map { $0.first == UInt8(ascii: "+") ? nil : UInt16(Substring($0)) }
  guard let first = ends.first, let first, let last = ends.last, let last else { return false }
  return ends.count <= 2 && first <= last && last < 8192
}

// SPDX-License-Identifier: Apache-2.0
internal import OCISpec

/// By what the rows of `escra top` are sorted.
enum TopOrder: String, CaseIterable {
  case name, cpu, limit, memory

  /// The key that selects it.
  var key: Unicode.Scalar {
    switch self {
    case .name: "n"
    case .cpu: "c"
    case .limit: "l"
    case .memory: "m"
    }
  }

  /// What it is called below the table.
  var title: String {
    switch self {
    case .name: "name"
    case .cpu: "CPU used"
    case .limit: "CPU limit"
    case .memory: "memory used"
    }
  }

  /// The number that is sorted by, the largest first; nil for names.
  fileprivate func value(_ report: ContainerReport) -> Double? {
    switch self {
    case .name: nil
    case .cpu: report.cpu.used ?? -1
    case .limit: report.cpu.limit.value ?? (report.cpu.limit == .unlimited ? .infinity : -1)
    case .memory: report.memory.used.map(Double.init) ?? -1
    }
  }
}

/// What a person has asked `escra top` to show: keys change it, and nothing else does.
struct TopView: Equatable {
  var order = TopOrder.name
  /// Whether the order is the other way round.
  var isReversed = false
  /// Rows have this in their name, id, application or policy.
  var filter = ""
  /// Whether keys are typed into the filter.
  private(set) var isTyping = false
  /// Whether members are below a row of their application.
  var isGrouped = true
  /// How many rows are above the first one that is shown.
  private(set) var offset = 0

  /// One row: a container, or an application with its members.
  struct Row: Equatable {
    let report: ContainerReport
    /// How many members an application has; nil for a container.
    var members: Int?
    /// Whether its application is a row above.
    var isMember = false
  }

  /// What a key has done.
  ///
  /// - Parameters:
  ///   - key: The key.
  ///   - page: How many rows a page has.
  /// - Returns: Whether to go on.
  mutating func press(_ key: TopKey, page: Int) -> Bool {
    if isTyping {
      switch key {
      case .character(let scalar): filter.unicodeScalars.append(scalar)
      case .backspace: filter = String(filter.dropLast())
      case .escape: (filter, isTyping) = ("", false)
      case .enter: isTyping = false
      case .endOfInput: return false
      default: break
      }
      offset = 0
      return true
    }
    switch key {
    case .up: offset -= 1
    case .down: offset += 1
    case .pageUp: offset -= page
    case .pageDown, .character(" "): offset += page
    case .home, .character("g"): offset = 0
    case .end, .character("G"): offset = .max / 2
    case .character("k"): offset -= 1
    case .character("j"): offset += 1
    case .character("/"): (filter, isTyping, offset) = ("", true, 0)
    case .escape: filter = ""
    case .character("a"): isGrouped.toggle()
    case .character("r"): isReversed.toggle()
    case .character("q"), .character("Q"), .endOfInput: return false
    case .character(let scalar):
      if let order = TopOrder.allCases.first(where: { $0.key == scalar }) {
        (self.order, isReversed, offset) = (order, false, 0)
      }
    default: break
    }
    offset = max(0, offset)
    return true
  }

  /// Brings the offset to where the last page is full.
  mutating func bound(rows: Int, page: Int) { offset = max(0, min(offset, rows - page)) }

  /// The rows of all pages.
  func rows(of reports: [ContainerReport]) -> [Row] {
    let matching = reports.filter(isShown)
    guard isGrouped else { return sorted(matching).map { Row(report: $0) } }
    var groups: [String: [ContainerReport]] = [:]
    var units: [(report: ContainerReport, members: [ContainerReport])] = []
    for report in matching {
      if let key = report.applicationKey {
        groups[key, default: []].append(report)
      } else {
        units.append((report, []))
      }
    }
    units += groups.values.map { (ContainerReport(summing: $0), $0) }
    return units.sorted { comes($0.report, before: $1.report) }.flatMap { report, members in
      [Row(report: report, members: members.isEmpty ? nil : members.count)]
        + sorted(members).map { Row(report: $0, isMember: true) }
    }
  }

  private func isShown(_ report: ContainerReport) -> Bool {
    let words = [report.name?.words.last, report.id, report.app, report.policy.rawValue].compactMap(
      \.self)
    return filter.isEmpty || words.contains { $0.lowercased().contains(filter.lowercased()) }
  }

  private func sorted(_ reports: [ContainerReport]) -> [ContainerReport] {
    reports.sorted { comes($0, before: $1) }
  }

  /// Rows that are equal in what is sorted by keep the order of their names, whichever way round.
  private func comes(_ one: ContainerReport, before other: ContainerReport) -> Bool {
    let names = (one.nameCell, one.id) < (other.nameCell, other.id)
    guard let left = order.value(one), let right = order.value(other) else {
      return isReversed != names
    }
    return left == right ? names : isReversed != (left > right)
  }
}

extension ContainerReport {
  /// Which application's row it is below; nil for a container alone.
  var applicationKey: String? {
    guard let app, !isReleased, applicationCPU != nil else { return nil }
    return [app, name?.namespace ?? "", root].joined(separator: "\0")
  }

  /// What the members of an application have together, as a row.
  init(summing members: [ContainerReport]) {
    self = members[0]
    id = ""
    name = app.map { ContainerName($0) }
    (ownCPUs, wouldBe, supervisor, unsupervised) = (nil, nil, nil, nil)
    ceiling = applicationCPU.map { Double($0) / 1e9 } ?? members.reduce(0) { $0 + $1.ceiling }
    cpu.limit = Self.sum(members.map(\.cpu.limit), +)
    cpu.used = members.compactMap(\.cpu.used).reduce(0, +)
    memory.limit = Self.sum(members.map(\.memory.limit), &+)
    memory.used = members.compactMap(\.memory.used).reduce(0, &+)
  }

  private static func sum<Number: Numeric>(
    _ limits: [Limit<Number>], _ add: (Number, Number) -> Number
  ) -> Limit<Number> {
    if limits.contains(.unlimited) { return .unlimited }
    let known = limits.compactMap(\.value)
    return known.isEmpty ? .unknown : .at(known.reduce(0, add))
  }
}

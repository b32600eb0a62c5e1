// SPDX-License-Identifier: Apache-2.0
internal import Syscalls

extension OperatorConfig {
  /// The keys of the config.
  enum Key: String, CaseIterable {
    case runtimes, defaultPolicy, allowedPolicies, law, hooks, floor, ceiling, reservedCPUs
    case hostMemoryReserve, appConflict, onFailure, history, cluster
    case applicationFromEnv, stateRoot
  }

  /// The keys of `floor` and `ceiling`.
  enum Resource: String, CaseIterable {
    case cpu, memory
  }

  /// The keys of `history`.
  enum HistoryKey: String, CaseIterable {
    case directory, runs, keep, predict
  }

  /// Reads a config from its bytes.
  ///
  /// - Parameters:
  ///   - bytes: One JSON object.
  ///   - file: Its name, for errors.
  /// - Throws: ``OperatorConfigError``: the first thing that is wrong.
  package init(parsing bytes: [UInt8], file: String) throws(OperatorConfigError) {
    self.init()
    do throws(OperatorConfigError.Problem) {
      try read(bytes)
      try check()
    } catch {
      throw OperatorConfigError(
        file: file, problem: error, runtimes: runtimes, stateRoot: stateRoot)
    }
  }

  private mutating func read(_ bytes: [UInt8]) throws(OperatorConfigError.Problem) {
    let root: JSONValue
    do throws(JSONSyntaxError) {
      root = try JSONValue(parsing: bytes)
    } catch {
      throw .syntax(error)
    }
    // First and whatever else is wrong: containers there are must stay within reach.
    try? root.forEachMember { name, value throws(OperatorConfigError.Problem) in
      if name == Key.stateRoot.rawValue { stateRoot = try? value.stateRoot() }
      if name == Key.runtimes.rawValue { runtimes = try value.absolutePaths() }
    }
    try root.forEachMember(of: Key.self) { key, value throws(OperatorConfigError.Problem) in
      try set(key, value)
    }
  }

  private mutating func set(
    _ key: Key, _ value: borrowing JSONValue
  ) throws(OperatorConfigError.Problem) {
    switch key {
    case .runtimes: runtimes = try value.absolutePaths()
    case .defaultPolicy: defaultPolicy = try value.policy()
    case .allowedPolicies: allowedPolicies = try value.policies()
    case .law: law = try value.law()
    case .hooks: hooks = try value.choice(of: HooksChoice.self)
    case .floor:
      try value.forEachMember(of: Resource.self) {
        resource, value throws(OperatorConfigError.Problem) in
        switch resource {
        case .cpu: floor.cpu = try value.cpu()
        case .memory: floor.memory = try value.memory()
        }
      }
    case .ceiling:
      try value.forEachMember(of: Resource.self) {
        resource, value throws(OperatorConfigError.Problem) in
        switch resource {
        case .cpu: ceiling.cpu = try value.cpu()
        case .memory: ceiling.memory = try value.memory()
        }
      }
    case .reservedCPUs: reservedCPUs = try value.cpuList()
    case .hostMemoryReserve: hostMemoryReserve = try value.bytes()
    case .appConflict: appConflict = try value.choice(of: AppConflict.self)
    case .history:
      var history = History()
      try value.forEachMember(of: HistoryKey.self) {
        key, value throws(OperatorConfigError.Problem) in
        switch key {
        case .directory: history.directory = try value.absolutePath()
        case .runs: history.runs = try value.count(of: 5...100_000)
        case .keep: history.keep = try value.seconds()
        case .predict: history.predict = try value.choice(of: Prediction.self)
        }
      }
      self.history = history
    case .cluster: cluster = try ClusterConfig(value)
    case .applicationFromEnv: applicationFromEnv = try value.variable()
    case .stateRoot: stateRoot = try value.stateRoot()
    case .onFailure: onFailure = try value.choice(of: FailureAction.self)
    }
  }

  /// Refuses what is fine by itself but not together.
  private func check() throws(OperatorConfigError.Problem) {
    if let most = ceiling.cpu, floor.cpu > most {
      throw .badValue(
        path: "floor.cpu", shown: "\(floor.cpu)",
        why: "is above ceiling.cpu \(most); write at most \(most)")
    }
    if let most = ceiling.memory, floor.memory > most {
      throw .badValue(
        path: "floor.memory", shown: "\(floor.memory)",
        why: "is above ceiling.memory \(most); write at most \(most)")
    }
    if let defaultPolicy, !allowedPolicies.contains(defaultPolicy) {
      throw .badValue(
        path: "defaultPolicy", shown: quoted(defaultPolicy.rawValue),
        why: "is not in allowedPolicies; use \(listed(allowedPolicies.map(\.rawValue)))")
    }
  }
}

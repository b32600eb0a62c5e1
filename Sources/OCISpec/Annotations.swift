// SPDX-License-Identifier: Apache-2.0

/// The annotations that select and bound a policy: `io.escra.` and one of these.
package enum AnnotationKey: String, CaseIterable, Sendable {
  /// Which policy.
  case policy
  /// The application that the container shares its limits with.
  case app
  /// The CPU limit of that.
  case appCPU = "app.cpu"
  /// The memory limit of that.
  case appMemory = "app.memory"
  /// Whether that is of the node or of the cluster.
  case appScope = "app.scope"
  /// The least CPU limit.
  case cpuMin = "cpu.min"
  /// The greatest CPU limit.
  case cpuMax = "cpu.max"
  /// The least memory limit.
  case memoryMin = "memory.min"
  /// The greatest memory limit.
  case memoryMax = "memory.max"
  /// The priority in the application.
  case priority
  /// Which limits programs in the container see.
  case visible
  /// The name of the history.
  case profile
  /// Whether a history is recorded.
  case record

  /// The whole key.
  package var name: String { "\(Annotations.prefix)\(rawValue)" }

  /// Whether it speaks of the application: the same for all its members, so never narrowed.
  var isOfApplication: Bool {
    self == .app || self == .appCPU || self == .appMemory || self == .appScope
  }
}

/// The annotations of one container that concern a policy, as yet unread.
///
/// A pod's annotations reach all its containers; `io.escra.policy/web` is for the container called
/// `web` alone, and wins over the same key without a name.
package struct Annotations {
  /// What all our keys begin with; where these bytes are nowhere in config.json there is nothing
  /// to read.
  package static let prefix = "io.escra."

  /// One annotation as it was written.
  struct Entry {
    let key: AnnotationKey
    let written: String
    let value: String
    let isNarrowed: Bool
  }

  /// Whether this is a pod's sandbox container, which always stays as it is.
  private(set) var isSandbox = false
  /// The Kubernetes namespace; nil outside of Kubernetes.
  private(set) var namespace: String?
  /// The name of the container in its pod; nil where the engine gives none.
  private(set) var containerName: String?
  /// The first key that is none of ours, or is narrowed and must not be.
  private(set) var firstError: PolicyError?
  private var entries: [Entry] = []

  /// Picks what concerns a policy from all annotations of a container; of a key that comes twice
  /// the last wins, as in Go.
  init(_ annotations: [(key: String, value: String)]) {
    var criName: String?
    var kubernetesName: String?
    var podNamespace: String?
    for (key, value) in annotations {
      switch key {
      case "io.kubernetes.cri.container-type", "io.kubernetes.cri-o.ContainerType":
        if value == "sandbox" { isSandbox = true }
      case "io.kubernetes.cri.container-name": criName = value.isEmpty ? nil : value
      case "io.kubernetes.container.name": kubernetesName = value.isEmpty ? nil : value
      case "io.kubernetes.cri.sandbox-namespace": namespace = value
      case "io.kubernetes.pod.namespace": podNamespace = value
      default: break
      }
    }
    namespace = namespace ?? podNamespace
    containerName = criName ?? kubernetesName
    for (key, value) in annotations where key.utf8.starts(with: Self.prefix.utf8) {
      add(key, value, container: containerName)
    }
  }

  private mutating func add(_ written: String, _ value: String, container: String?) {
    let parts = written.utf8.dropFirst(Self.prefix.utf8.count)
      .split(separator: UInt8(ascii: "/"), maxSplits: 1, omittingEmptySubsequences: false)
    let name = String(Substring(parts[0]))
    guard let key = AnnotationKey(rawValue: name) else {
      let nearest = nearestName(to: name, among: AnnotationKey.allCases.lazy.map(\.rawValue))
      firstError = firstError ?? .unknownKey(written, nearest: nearest.map { Self.prefix + $0 })
      return
    }
    guard parts.count > 1 else {
      entries.append(Entry(key: key, written: written, value: value, isNarrowed: false))
      return
    }
    if key.isOfApplication {
      firstError = firstError ?? .notNarrowable(written, write: key.name)
    } else if container == nil {
      // Without a name it is not known whether it is for this one, and without it more may happen.
      firstError = firstError ?? .noContainerName(written, write: key.name)
    } else if container?.utf8.elementsEqual(parts[1]) == true {
      entries.append(Entry(key: key, written: written, value: value, isNarrowed: true))
    }
  }

  /// What the environment says of the application, where the operator's `applicationFromEnv` has it read
  /// and no annotation names an application.
  ///
  /// The variable NAME stands for `io.escra.app`, and NAME_SCOPE, NAME_CPU and NAME_MEMORY for what
  /// else annotations say of it.
  mutating func add(_ variables: [(name: String, value: String)], of name: String) {
    guard self[.app] == nil, variables.contains(where: { $0.name == name }) else { return }
    let keys: [(suffix: String, key: AnnotationKey)] = [
      ("", .app), ("_SCOPE", .appScope), ("_CPU", .appCPU), ("_MEMORY", .appMemory),
    ]
    for (suffix, key) in keys where self[key] == nil {
      guard let variable = variables.last(where: { $0.name == name + suffix }) else { continue }
      entries.append(
        Entry(key: key, written: variable.name, value: variable.value, isNarrowed: false))
    }
  }

  /// The annotation that counts for this container; nil where there is none.
  subscript(key: AnnotationKey) -> Entry? {
    entries.last { $0.key == key && $0.isNarrowed } ?? entries.last { $0.key == key }
  }

  /// The first annotation other than the policy itself; nil where there is none.
  var firstSetting: Entry? { entries.first { $0.key != .policy } }

  /// The first annotation that is one of `keys`; nil where there is none.
  func first(of keys: [AnnotationKey]) -> Entry? { entries.first { keys.contains($0.key) } }
}

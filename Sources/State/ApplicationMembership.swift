// SPDX-License-Identifier: Apache-2.0
package import Quantities

/// What a container's state says of the application that it is a member of.
package struct ApplicationMembership: Equatable, Sendable {
  /// The directory's name in `apps/`.
  package var room: String
  /// What the application is called and for whom, as the directory has it.
  package var name: String
  /// Who is served first when the application runs short: the higher.
  package var priority: Int32
  /// What an annotation gives the whole application, in nanocores.
  package var cpu: Int64?
  /// What an annotation gives the whole application, in bytes.
  package var memory: Int64?
  /// Whether these have to be what the application has already, if it has members.
  package var isNoChange = false

  /// What the directory says of an application that spans nodes.
  package static let clusterScope = "cluster"

  /// Whether the application spans nodes.
  package var isClusterScoped: Bool { KeyValueText(name)["scope"] == Self.clusterScope }

  /// The Kubernetes namespace; nil outside of Kubernetes.
  package var namespace: String? { KeyValueText(name)["namespace"] }

  /// Makes a membership.
  ///
  /// Equal names are different applications for different users, roots of runtimes and namespaces.
  /// One that spans nodes is the same for all users and roots: other nodes have others.
  ///
  /// - Parameters:
  ///   - application: The name that the annotation gives.
  ///   - user: Whose runtime it is.
  ///   - root: The runtime's `--root`, absolute.
  ///   - namespace: The Kubernetes namespace; nil outside of Kubernetes.
  ///   - isClusterScoped: Whether the application spans nodes.
  ///   - priority: Who is served first.
  ///   - cpu: What an annotation gives the whole application, in nanocores.
  ///   - memory: What an annotation gives the whole application, in bytes.
  package init(
    application: String, user: UInt32, root: String, namespace: String?,
    isClusterScoped: Bool = false, priority: Int32, cpu: Int64?, memory: Int64?
  ) {
    var keyed = KeyValueText()
    keyed["name"] = application
    if isClusterScoped {
      keyed["scope"] = Self.clusterScope
    } else {
      keyed["user"] = "\(user)"
      keyed["root"] = root
    }
    keyed["namespace"] = namespace
    name = keyed.text
    room = SHA256.digits(of: name)
    self.priority = priority
    self.cpu = cpu
    self.memory = memory
  }

  /// Joins members of an earlier version, which called the directory by a shorter hash, as long as
  /// there are any: an application that is split in two has twice its limit.
  ///
  /// - Parameter root: Where applications are.
  package mutating func joinEarlierVersion(_ root: StateRoot) {
    var hash = FNV1a()
    hash.add(name.utf8)
    guard let earlier = ApplicationDirectory.ifThere(root.applications + "/" + hash.digits),
      // Without an answer it is taken for another one's.
      (try? earlier.isNamed(name)) == true
    else { return }
    room = hash.digits
  }

  package init?(_ keyed: KeyValueText) {
    // A supervisor that was taken over may have written it: it leads to no other directory.
    guard let room = keyed["appRoom"], let name = keyed["appName"],
      room.utf8.allSatisfy({ $0 != UInt8(ascii: "/") && $0 != UInt8(ascii: ".") })
    else { return nil }
    self.room = room
    self.name = name
    priority = Int32(clamping: keyed[int: "appPriority"] ?? 0)
    cpu = keyed[int: "appCPU"]
    memory = keyed[int: "appMemory"]
    isNoChange = keyed[int: "appNoChange"] == 1
  }

  func write(to keyed: inout KeyValueText) {
    keyed["appRoom"] = room
    keyed["appName"] = name
    keyed[int: "appPriority"] = Int64(priority)
    keyed[int: "appCPU"] = cpu
    keyed[int: "appMemory"] = memory
    keyed[int: "appNoChange"] = isNoChange ? 1 : nil
  }
}

extension StateRoot {
  /// Where the applications' rooms are.
  package var applications: String { path + "/apps" }
}

// SPDX-License-Identifier: Apache-2.0
internal import OCISpec

/// The name of a container: "web" under Docker and Podman, "POD/CONTAINER" in Kubernetes.
struct ContainerName: Equatable, Hashable {
  /// The name that tables show.
  let text: String
  /// The Kubernetes namespace.
  var namespace: String?
  /// The pod.
  var pod: String?
  /// The container's name in its pod.
  var container: String?

  /// Makes the name that an engine gave.
  init(_ text: String) { self.text = text }

  /// Makes the name of a pod's container.
  init(pod: String, container: String, namespace: String?) {
    text = pod + "/" + container
    (self.namespace, self.pod, self.container) = (namespace, pod, container)
  }

  /// The words by which a person may mean it.
  var words: [String] { [text] + (namespace.map { ["\($0)/\(text)"] } ?? []) }

  /// Reads the annotations by which the CRI's implementations and nerdctl name a container.
  ///
  /// containerd has its own keys (pkg/cri/annotations), CRI-O those of the kubelet's labels.
  init?(annotations: [String: String]) {
    func value(_ keys: String...) -> String? {
      keys.lazy.compactMap { annotations[$0] }.first { !$0.isEmpty }
    }
    if let container = value("io.kubernetes.cri.container-name", "io.kubernetes.container.name"),
      let pod = value("io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name")
    {
      self.init(
        pod: pod, container: container,
        namespace: value("io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace"))
    } else if let name = value("nerdctl/name", "io.kubernetes.cri.container-name") {
      self.init(name)
    } else {
      return nil
    }
  }

  /// Reads the name from the arguments of conmon, which Podman starts beside each container.
  ///
  /// - Parameters:
  ///   - words: The arguments.
  ///   - id: The container that conmon has to be of.
  init?(conmon words: [String], of id: String) {
    func value(_ flags: [String]) -> String? {
      words.firstIndex { flags.contains($0) }.flatMap { index in
        index + 1 < words.count ? words[index + 1] : nil
      }
    }
    guard value(["-c", "--cid"]) == id, let name = value(["-n", "--name"]), !name.isEmpty else {
      return nil
    }
    self.init(name)
  }

  /// Finds Docker's own file about a container by what Docker mounts into it.
  ///
  /// - Parameters:
  ///   - sources: The sources of the mounts in config.json.
  ///   - id: The container.
  /// - Returns: The path of config.v2.json, which says the name; nil where no mount is of Docker's.
  static func dockerFile(mounts sources: [String], id: String) -> String? {
    for source in sources {
      for file in ["resolv.conf", "hostname", "hosts"]
      where source.hasSuffix("/containers/\(id)/\(file)") {
        return source.dropLast(file.utf8.count) + "config.v2.json"
      }
    }
    return nil
  }

  /// Reads the text of Docker's config.v2.json, where the name begins with a slash.
  init?(docker bytes: [UInt8]) {
    var name: String?
    JSONValue.ifValid(bytes)?.forEachMember { key, value in
      if key == "Name" { name = value.string }
    }
    guard let name, name.utf8.count > 1, name.utf8.first == UInt8(ascii: "/") else { return nil }
    self.init(String(name.dropFirst()))
  }
}

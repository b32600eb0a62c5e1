// SPDX-License-Identifier: Apache-2.0
internal import CPUSets
internal import Cgroups
internal import Glibc
internal import OCISpec
internal import Quantities
internal import Syscalls

/// What low-level runtimes remember of their containers' CPU sets.
///
/// runc has it in its state.json, and in the config.json of the bundle where it has forgotten (1.1
/// does at each update that names no CPUs). crun has the group's path in a file called status, and
/// a copy of config.json beside it.
///
/// Read only when a registry was lost: our own word comes first.
struct RuntimeStates {
  private var declared: [String: CPUSet] = [:]

  /// Reads what there is below the usual roots and some others.
  init(roots: [String]) {
    var seen: Set<String> = []
    for root in roots + Self.usualRoots() where seen.insert(root).inserted {
      for container in Self.subdirectories(root) { read(root + "/" + container) }
    }
  }

  /// The CPU set that the container of a group declared; nil where it declared none, or is not
  /// known.
  func cpus(_ group: String) -> CPUSet? { declared[group] }

  /// Those of Podman and CRI-O, then containerd's and Docker's, which have one for each namespace.
  static func usualRoots() -> [String] {
    let docker = subdirectories("/run/docker").filter { $0.utf8.starts(with: "runtime-".utf8) }
    let shared = ["/run/containerd/runc"] + docker.map { "/run/docker/" + $0 }
    return ["/run/runc", "/run/crun"]
      + shared.flatMap { parent in subdirectories(parent).map { parent + "/" + $0 } }
  }

  static func subdirectories(_ path: String) -> [String] {
    FileDescriptor.openIfPossible(path, O_RDONLY | O_DIRECTORY)?.subdirectoriesIfReadable ?? []
  }

  private mutating func read(_ directory: String) {
    if let state = Self.document(directory + "/state.json") {
      // On cgroup v2 there is one path, and it has no name.
      guard
        let path = state.string(at: ["cgroup_paths", "cpuset"])
          ?? state.string(at: ["cgroup_paths", ""]),
        let group = CpusetTree.ofMachine()?.group(path)
      else { return }
      let written = state.string(at: ["config", "cgroups", "cpuset_cpus"]) ?? ""
      let cpus = CPUSet(list: written) ?? CPUSet()
      declared[group] = cpus.isEmpty ? Self.bundle(of: state).flatMap(Self.declaredCPUs) : cpus
    } else if let state = Self.document(directory + "/status"),
      let group = state.string(at: ["cgroup-path"]), let cpus = Self.declaredCPUs(directory)
    {
      declared[group] = cpus
      // With systemd the container is in a group of its own below its scope, and both have the set.
      let around = group.parentGroup
      if let scope = state.string(at: ["scope"]), !scope.isEmpty, around.hasSuffix("/" + scope) {
        declared[around] = cpus
      }
    }
  }

  /// The pid of a container's init.
  ///
  /// - Parameter directory: Where the low-level runtime keeps the container's state.
  /// - Returns: nil where there is none, or the runtime has another form for it.
  static func initProcess(in directory: String) -> Int32? {
    integer(in: directory, runc: "init_process_pid", crun: "pid").flatMap { Int32(exactly: $0) }
  }

  /// When that process started, as ``ProcessIdentity`` has it; nil likewise.
  static func initStart(in directory: String) -> Int64? {
    integer(in: directory, runc: "init_process_start", crun: "process-start-time")
  }

  /// The bundle of a container, by its runtime's state of it; nil likewise.
  static func bundle(in directory: String) -> String? {
    if let state = document(directory + "/state.json") { return bundle(of: state) }
    return document(directory + "/status")?.string(at: ["bundle"])
  }

  private static func integer(in directory: String, runc: String, crun: String) -> Int64? {
    document(directory + "/state.json")?.integer(at: [runc])
      ?? document(directory + "/status")?.integer(at: [crun])
  }

  private static func document(_ path: String) -> JSONValue? {
    let flags = O_RDONLY | O_NONBLOCK | O_NOCTTY
    return FileDescriptor.bytesIfReadable(of: path, flags, limit: 16 << 20).flatMap {
      JSONValue.ifValid($0)
    }
  }

  /// runc keeps the bundle's path among the labels, as "bundle=PATH".
  private static func bundle(of state: borrowing JSONValue) -> String? {
    var bundle: String?
    state.withMember(["config", "labels"][...]) { labels in
      labels.forEachElement { label in
        if let text = label.string, text.utf8.starts(with: "bundle=".utf8) {
          bundle = String(Substring(text.utf8.dropFirst(7)))
        }
      }
    }
    return bundle
  }

  /// What the config.json in a directory declares.
  private static func declaredCPUs(_ directory: String) -> CPUSet? {
    // What the runtime itself could not have read declares nothing.
    guard let bytes = try? Bundle(directory).config(),
      let list = try? ConfigDocument(bytes).declared.cpuset, let cpus = CPUSet(list: list),
      !cpus.isEmpty
    else { return nil }
    return cpus
  }
}

extension JSONValue {
  /// Calls `body` with what a path of member names leads to; does nothing where it leads nowhere.
  fileprivate func withMember(_ path: ArraySlice<String>, _ body: (borrowing JSONValue) -> Void) {
    guard let name = path.first else { return body(self) }
    forEachMember { key, value in
      if key == name { value.withMember(path.dropFirst(), body) }
    }
  }

  fileprivate func integer(at path: [String]) -> Int64? {
    var found: Int64?
    withMember(path[...]) { found = $0.integer }
    return found
  }

  fileprivate func string(at path: [String]) -> String? {
    var found: String?
    withMember(path[...]) { found = $0.string }
    return found
  }
}

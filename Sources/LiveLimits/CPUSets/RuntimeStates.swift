// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import OCISpec
internal import Syscalls

/// What low-level runtimes remember of their containers' CPU sets: runc's state.json, and the
/// config.json of the bundle where runc has forgotten (1.1 does at each update that names no CPUs).
///
/// Read only when a registry was lost: our own word comes first.
struct RuntimeStates {
  private var declared: [String: CPUSet] = [:]

  /// Reads what there is below the usual roots and some others.
  init(roots: [String]) {
    var seen: Set<String> = []
    for root in roots + Self.usualRoots() where seen.insert(root).inserted {
      guard let directory = try? FileDescriptor.open(root, O_RDONLY | O_DIRECTORY),
        let containers = try? directory.subdirectories()
      else { continue }
      for container in containers { read(root + "/" + container + "/state.json") }
    }
  }

  /// The CPU set that the container of a group declared; nil where it declared none, or is not
  /// known.
  func cpus(_ group: String) -> CPUSet? { declared[group] }

  private static func usualRoots() -> [String] {
    let shared = ["/run/containerd/runc", "/run/docker/runtime-runc"]
    return ["/run/runc"]
      + shared.flatMap { parent -> [String] in
        let names = try? FileDescriptor.open(parent, O_RDONLY | O_DIRECTORY).subdirectories()
        return (names ?? []).map { parent + "/" + $0 }
      }
  }

  private mutating func read(_ path: String) {
    guard let bytes = try? FileDescriptor.open(path, O_RDONLY).readAll(limit: 16 << 20),
      let state = try? JSONValue(parsing: bytes),
      // On cgroup v2 there is one path, and it has no name.
      let directory = state.string(at: ["cgroup_paths", "cpuset"])
        ?? state.string(at: ["cgroup_paths", ""]),
      let group = CpusetTree.ofMachine()?.group(directory)
    else { return }
    let written = state.string(at: ["config", "cgroups", "cpuset_cpus"]) ?? ""
    if let cpus = CPUSet(list: written), !cpus.isEmpty {
      declared[group] = cpus
    } else if let cpus = declaredInBundle(state) {
      declared[group] = cpus
    }
  }

  /// runc keeps the bundle's path among the labels, as "bundle=PATH".
  private func declaredInBundle(_ state: borrowing JSONValue) -> CPUSet? {
    var bundle: String?
    state.withMember(["config", "labels"][...]) { labels in
      labels.forEachElement { label in
        if let text = label.string, text.utf8.starts(with: "bundle=".utf8) {
          bundle = String(Substring(text.utf8.dropFirst(7)))
        }
      }
    }
    guard let bundle, let bytes = try? Bundle(bundle).config(),
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

  fileprivate func string(at path: [String]) -> String? {
    var found: String?
    withMember(path[...]) { found = $0.string }
    return found
  }
}

// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import LiveLimits
internal import OCISpec
internal import Quantities
internal import State
internal import Syscalls

/// Finds the names of containers, and remembers them.
///
/// It reads what engines have written anyway, and calls no engine: config.json in the bundle,
/// Docker's file about the container, the arguments of Podman's conmon.
final class NameReader {
  /// Where a container's name is written down.
  private enum Source {
    /// Nowhere, or once for all.
    case fixed(ContainerName?)
    /// In a file of Docker's, which `docker rename` writes anew: as it was when it was last read.
    case docker(path: String, modified: Nanoseconds, name: ContainerName?)
  }

  /// By the directory of the instance.
  private var sources: [String: Source] = [:]

  /// Finds the name of a container.
  ///
  /// - Parameters:
  ///   - state: What is written down of it.
  ///   - instance: Its directory.
  /// - Returns: nil where no engine has named it.
  func name(of state: ContainerState, at instance: String) -> ContainerName? {
    switch sources[instance] {
    case .fixed(let name)?: return name
    case .docker(let path, let modified, let name)?:
      // Docker's file goes before the container's last process has.
      guard let now = Self.modified(path), now != modified else { return name }
      return remember(Self.docker(path), instance)
    case nil:
      let found = Self.find(state)
      // Before its init is known, conmon is not.
      if case .fixed(nil) = found, state.initProcess == nil { return nil }
      return remember(found, instance)
    }
  }

  /// Forgets the instances that are not among these.
  func keep(_ instances: some Collection<String>) {
    let instances = Set(instances)
    sources = sources.filter { instances.contains($0.key) }
  }

  private func remember(_ source: Source, _ instance: String) -> ContainerName? {
    sources[instance] = source
    switch source {
    case .fixed(let name), .docker(_, _, let name): return name
    }
  }

  /// Finds the name of a container that was started without escra-runc.
  ///
  /// - Parameter container: What its runtime knows of it.
  /// - Returns: nil where no engine has named it.
  static func name(of container: RuntimeContainer) -> ContainerName? {
    switch find(container) {
    case .fixed(let name), .docker(_, _, let name): return name
    }
  }

  private static func find(_ state: ContainerState) -> Source {
    let container = RuntimeContainer(
      root: state.root, id: state.id, process: state.initProcess?.pid ?? 0)
    if state.oneGroup == ForeignContainer.reason { return find(container) }
    return find(container, config: state.config ?? state.bundle + "/config.json")
  }

  private static func find(_ container: RuntimeContainer) -> Source {
    find(container, config: container.config ?? "")
  }

  private static func find(_ container: RuntimeContainer, config path: String) -> Source {
    let (annotations, mounts) = config(path)
    if let name = ContainerName(annotations: annotations) { return .fixed(name) }
    if let path = ContainerName.dockerFile(mounts: mounts, id: container.id) { return docker(path) }
    guard container.process > 0, let parent = ProcessIdentity.parent(of: container.process),
      let bytes = FileDescriptor.bytesIfReadable(of: "/proc/\(parent)/cmdline")
    else { return .fixed(nil) }
    let words = bytes.split(separator: 0).map { String(decoding: $0, as: UTF8.self) }
    return .fixed(ContainerName(conmon: words, of: container.id))
  }

  private static func docker(_ path: String) -> Source {
    .docker(
      path: path, modified: modified(path) ?? 0,
      name: contents(path).flatMap { ContainerName(docker: $0) })
  }

  private static func modified(_ path: String) -> Nanoseconds? {
    FileStatus.ifThere(path)?.modified
  }

  /// A regular file of at most 4 MiB.
  private static func contents(_ path: String) -> [UInt8]? {
    guard let file = FileDescriptor.openIfPossible(path, O_RDONLY | O_NONBLOCK),
      file.isRegularFile
    else { return nil }
    return file.bytesIfReadable(limit: 4 << 20)
  }

  /// The annotations of a config.json and the sources of its mounts.
  private static func config(_ path: String) -> ([String: String], mounts: [String]) {
    var annotations: [String: String] = [:]
    var mounts: [String] = []
    guard let bytes = contents(path) else { return (annotations, mounts) }
    JSONValue.ifValid(bytes)?.forEachMember { key, value in
      if key == "annotations" {
        value.forEachMember { key, value in annotations[key] = value.string }
      } else if key == "mounts" {
        value.forEachElement { mount in
          mount.forEachMember { key, value in
            if key == "source", let source = value.string { mounts.append(source) }
          }
        }
      }
    }
    return (annotations, mounts)
  }
}

/// What a shell offers where a container is meant: names, and ids of those without one.
///
/// Nothing, for a user without access to the state files.
@Sendable func containerWords(_: [String], _: Int, _ prefix: String) -> [String] {
  Observer(.configured).look().map { $0.report.name?.text ?? $0.report.id }
    .filter { $0.utf8.starts(with: prefix.utf8) }
}

// SPDX-License-Identifier: Apache-2.0
package import OCISpec
internal import Quantities

/// A group of ours around a container's own.
///
/// The limits that move are those of the outer group. The container's own group has what config.json
/// declares: engines write it, and programs read it. The lesser of the two holds.
///
/// On cgroup v1 the kernel refuses a CPU limit below that of a group in it (tg_cfs_schedulable_down of
/// kernel/sched/core.c). There the memory limit alone is the outer group's.
package struct OuterGroup: Equatable, Sendable {
  /// Its path from the hierarchy's root.
  package let path: String
  /// What the container's own group in it is called.
  package let inner: String
  /// What config.json says for the low-level runtime to make the container's own group in it.
  package let cgroupsPath: String
  /// How it comes to be.
  package let kind: Kind

  /// How a group comes to be, and in which hierarchies.
  package enum Kind: Equatable, Sendable {
    /// It is made in the unified hierarchy.
    case unified
    /// systemd makes a slice of this name.
    case slice(String)
    /// It is made in the hierarchies of cgroup v1, for the memory limit.
    case legacy
  }

  /// What it is called: the last part of ``path``.
  package var name: String {
    path.utf8.split(separator: UInt8(ascii: "/")).last.map { String(Substring($0)) } ?? ""
  }

  /// What the outer group of a container is called: it depends on the root and the id alone, and no
  /// author of an id can make it another container's.
  static func name(root: String, id: String) -> String {
    "escra" + SHA256.digits(of: root + "\0" + id)
  }

  /// Makes it for a group that the runtime makes itself; nil for what is not the plain path of one.
  init?(around path: String, name: String, _ kind: Kind) {
    var parts = path.split(at: "/")
    guard !parts.contains("."), !parts.contains(".."), let inner = parts.popLast() else {
      return nil
    }
    self.path = (parts.map { String($0) } + [name]).map { "/" + $0 }.joined()
    self.inner = String(inner)
    cgroupsPath = self.path + "/" + inner
    self.kind = kind
  }

  /// Makes it for a scope in a slice of systemd's: "a-b.slice" is the parent of "a-b-NAME.slice"
  /// (systemd.slice(5)).
  ///
  /// - Returns: nil for what is no scope in a slice, or where systemd would find the name too long.
  init?(around unit: CgroupsPath.Unit, name: String) {
    let parent = unit.slice == "-.slice" ? "" : unit.slice.dropLast(6) + "-"
    let slice = parent + name + ".slice"
    let inner = CgroupsPath.Unit(slice: slice, prefix: unit.prefix, name: unit.name)
    let place = CgroupsPath(inner.text, id: "", isSystemds: true)
    guard !unit.name.hasSuffix(".slice"), slice.utf8.count < Self.mostBytes,
      let path = place.path, path.utf8.count > place.name.utf8.count
    else { return nil }
    self.path = String(Substring(path.utf8.dropLast(place.name.utf8.count + 1)))
    self.inner = place.name
    cgroupsPath = inner.text
    kind = .slice(slice)
  }

  /// The name of a unit has fewer bytes (UNIT_NAME_MAX of systemd's src/basic/unit-name.h).
  private static let mostBytes = 256
}

/// In how many groups a container is: decided here alone.
package enum GroupPlan: Equatable, Sendable {
  /// In its own; why not in two, as a clause, where that could be expected.
  case one(because: String?)
  /// In its own, in one of ours.
  case two(OuterGroup)

  /// What is known of a container before it is created.
  package struct Request {
    /// Whether programs in it are not to see that its limits move.
    package var hidesLimits: Bool
    /// Whether its CPU limit is to move.
    package var movesCPU: Bool
    /// Whether its memory limit is to move.
    package var movesMemory: Bool
    /// Whether CPU limits are in the unified hierarchy.
    package var isUnified: Bool
    /// Whether the caller is root.
    package var isRoot: Bool
    /// Where the low-level runtime would make the container's group.
    package var cgroup: CgroupsPath

    /// Makes a request.
    package init(
      hidesLimits: Bool, movesCPU: Bool, movesMemory: Bool,
      isUnified: Bool = CgroupMount.hasUnifiedCPU, isRoot: Bool, cgroup: CgroupsPath
    ) {
      self.hidesLimits = hidesLimits
      self.movesCPU = movesCPU
      self.movesMemory = movesMemory
      self.isUnified = isUnified
      self.isRoot = isRoot
      self.cgroup = cgroup
    }
  }

  /// Decides.
  ///
  /// - Parameters:
  ///   - request: The container.
  ///   - root: The runtime's `--root`, absolute.
  ///   - id: The container's id.
  package init(_ request: Request, root: String, id: String) {
    let unit = request.cgroup.unit
    let isPossible =
      request.isUnified
      ? request.movesCPU || request.movesMemory
      : request.movesCPU && request.movesMemory && unit == nil
    guard request.hidesLimits, request.isRoot, isPossible else {
      self = .one(because: nil)
      return
    }
    guard let path = request.cgroup.path else {
      self = .one(because: "config.json names no absolute cgroupsPath")
      return
    }
    let name = OuterGroup.name(root: root, id: id)
    let group =
      if let unit { OuterGroup(around: unit, name: name) } else {
        OuterGroup(around: path, name: name, request.isUnified ? .unified : .legacy)
      }
    guard let group else {
      self = .one(
        because: "the cgroupsPath \"\(unit?.text ?? path)\" is not the plain path of a "
          + "group")
      return
    }
    self = .two(group)
  }
}

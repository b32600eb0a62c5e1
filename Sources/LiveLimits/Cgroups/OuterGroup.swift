// SPDX-License-Identifier: Apache-2.0
internal import Syscalls

/// A group of ours around a container's own, on cgroup v2.
///
/// The limits that move are those of the outer group. The container's own group has what config.json
/// declares: engines write it, and programs read it. The lesser of the two holds.
public struct OuterGroup: Equatable, Sendable {
  /// Its path from the hierarchy's root.
  public let path: String
  /// What the container's own group in it is called.
  public let inner: String

  /// What it is called: the last part of ``path``.
  public var name: String {
    path.utf8.split(separator: UInt8(ascii: "/")).last.map { String(Substring($0)) } ?? ""
  }

  /// What config.json says for the low-level runtime to make the container's own group in it.
  public var cgroupsPath: String { path + "/" + inner }

  /// What the outer group of a container is called: it depends on the root and the id alone, and no
  /// author of an id can make it another container's.
  static func name(root: String, id: String) -> String {
    "escra" + SHA256.digits(of: root + "\0" + id)
  }
}

/// In how many groups a container is: decided here alone.
public enum GroupPlan: Equatable, Sendable {
  /// In its own; why not in two, as a clause, where that could be expected.
  case one(because: String?)
  /// In its own, in one of ours.
  case two(OuterGroup)

  /// What is known of a container before it is created.
  public struct Request {
    /// Whether its limits are to move.
    public var isReactive: Bool
    /// Whether it shares its limits with an application.
    public var isMember: Bool
    /// Whether systemd makes its group.
    public var usesSystemd: Bool
    /// Whether CPU limits are in the unified hierarchy.
    public var isUnified: Bool
    /// Whether the caller is root.
    public var isRoot: Bool
    /// `linux.cgroupsPath`, from the hierarchy's root; nil where the path depends on the caller.
    public var path: String?

    /// Makes a request.
    public init(
      isReactive: Bool, isMember: Bool, usesSystemd: Bool, isUnified: Bool, isRoot: Bool,
      path: String?
    ) {
      self.isReactive = isReactive
      self.isMember = isMember
      self.usesSystemd = usesSystemd
      self.isUnified = isUnified
      self.isRoot = isRoot
      self.path = path
    }
  }

  /// Decides.
  ///
  /// - Parameters:
  ///   - request: The container.
  ///   - root: The runtime's `--root`, absolute.
  ///   - id: The container's id.
  public init(_ request: Request, root: String, id: String) {
    guard request.isReactive, !request.isMember, !request.usesSystemd, request.isUnified,
      request.isRoot
    else {
      self = .one(because: nil)
      return
    }
    guard let path = request.path else {
      self = .one(because: "config.json names no absolute cgroupsPath")
      return
    }
    var parts = path.split(at: "/")
    guard !parts.contains("."), !parts.contains(".."), let inner = parts.popLast() else {
      self = .one(because: "the cgroupsPath \"\(path)\" is not the plain path of a group")
      return
    }
    let outer = (parts.map { String($0) } + [OuterGroup.name(root: root, id: id)])
      .map { "/" + $0 }.joined()
    self = .two(OuterGroup(path: outer, inner: String(inner)))
  }
}

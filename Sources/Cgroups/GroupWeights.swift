// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import Quantities
package import Syscalls

/// The weights and protections of a container's own group, which the group of ours around it carries:
/// the kernel compares groups that are beside each other, and those are ours.
package struct GroupWeights {
  /// One of them.
  ///
  /// An idle group takes no weight, so that comes first.
  package enum Kind: CaseIterable {
    /// Whether the group runs only where no other wants to.
    case idle
    /// The weight of CPU time.
    case cpu
    /// The weight of block I/O.
    case io
    /// Memory that is reclaimed only if nothing else can be.
    case memoryLow
    /// Memory that is not reclaimed.
    case memoryMin

    /// What it is called on cgroup v2, and on v1.
    fileprivate var names: [String] {
      switch self {
      case .idle: ["cpu.idle"]
      case .cpu: ["cpu.weight", "cpu.shares"]
      case .io: ["io.weight", "blkio.bfq.weight"]
      case .memoryLow: ["memory.low"]
      case .memoryMin: ["memory.min"]
      }
    }
  }

  /// Where a container's group and the one around it are in one hierarchy.
  package struct Directories {
    let inner: String
    let outer: String

    /// Makes a pair.
    package init(inner: String, outer: String) {
      self.inner = inner
      self.outer = outer
    }

    fileprivate func open(_ name: String) -> Pair? {
      guard let from = FileDescriptor.openIfPossible(inner + "/" + name, O_RDONLY),
        let to = FileDescriptor.openIfPossible(outer + "/" + name, O_RDWR)
      else { return nil }
      return Pair(from, to)
    }
  }

  /// One file of both groups.
  fileprivate final class Pair {
    let inner: FileDescriptor
    let outer: FileDescriptor

    init(_ inner: consuming FileDescriptor, _ outer: consuming FileDescriptor) {
      self.inner = inner
      self.outer = outer
    }

    /// Writes what the container's own group has; the kernel takes one line of io.weight at once.
    func carry() {
      guard let wanted = inner.contentsIfReadable(), let found = outer.contentsIfReadable(),
        wanted != found
      else { return }
      for line in wanted.split(at: "\n") {
        // Refused, it is carried with the next write of another process.
        try? outer.overwrite(String(line), subject: "a weight")
      }
    }
  }

  private let pairs: [Pair]

  /// Writes in groups around a container's own what those have.
  static func carry(_ hierarchies: [Directories]) {
    for kind in Kind.allCases {
      for name in kind.names {
        for directories in hierarchies { directories.open(name)?.carry() }
      }
    }
  }

  /// Has a watch report each write in the containers' own groups.
  static func watch(_ hierarchies: [Directories], by watch: borrowing FileWatch) {
    for directories in hierarchies {
      for kind in Kind.allCases {
        for name in kind.names {
          // A group that is not made yet, or has no such file.
          try? watch.addWrites(toFile: directories.inner + "/" + name)
        }
      }
    }
  }

  /// Opens the files of both groups, as far as they have them.
  ///
  /// - Parameters:
  ///   - hierarchies: The groups.
  ///   - watch: Reports each write to one of them: systemd writes what it knows of a slice.
  ///   - take: Takes the descriptors, the container's own group's first.
  package static func open(
    _ hierarchies: [Directories], _ watch: borrowing WriteWatch,
    _ take: (Kind, _ inner: Int32, _ outer: Int32) -> Void
  ) {
    for kind in Kind.allCases {
      guard let (inner, outer) = open(kind, hierarchies, watch) else { continue }
      take(kind, inner, outer)
    }
  }

  private static func open(
    _ kind: Kind, _ hierarchies: [Directories], _ watch: borrowing WriteWatch
  ) -> (Int32, Int32)? {
    for name in kind.names {
      for directories in hierarchies {
        guard
          let from = FileDescriptor.openIfPossible(directories.inner + "/" + name, O_RDONLY),
          let to = FileDescriptor.openIfPossible(directories.outer + "/" + name, O_RDWR)
        else { continue }
        watch.add(writesTo: from)
        watch.add(writesTo: to)
        return (from.release(), to.release())
      }
    }
    return nil
  }

  /// Takes over open files.
  ///
  /// - Parameter take: Gives the file of a kind away, the container's own group's or the other's;
  ///   ``FileDescriptor/none`` for a file that is not there.
  package init(_ take: (Kind, _ isInner: Bool) -> FileDescriptor) {
    var pairs: [Pair] = []
    for kind in Kind.allCases {
      let inner = take(kind, true)
      let outer = take(kind, false)
      if inner.isOpen, outer.isOpen { pairs.append(Pair(inner, outer)) }
    }
    self.pairs = pairs
    carry()
  }

  /// Makes the weights of both groups the same.
  package func carry() { for pair in pairs { pair.carry() } }
}

// SPDX-License-Identifier: Apache-2.0
internal import Glibc
package import Quantities
internal import Syscalls

/// The control laws there are.
package enum LawName: String, CaseIterable, Sendable {
  /// Ours: the recent peak of the use plus a margin.
  case headroom
  /// The rules of the Escra authors' controller.
  case escra
}

/// How it is heard that a container needs more CPU.
package enum HooksChoice: String, CaseIterable, Sendable {
  /// By BPF programs in the scheduler where the kernel takes them, else by sampling.
  case auto
  /// By reading its use every few milliseconds while it works.
  case sampling
}

/// What the operator of a node allows and wants: `/etc/escra/config.json`.
///
/// Annotations come from any user who may start a container; everything that names a program, a
/// path or a bound for the node is here and nowhere else.
package struct OperatorConfig: Equatable, Sendable {
  /// Where the config is unless `--escra-config` says otherwise.
  package static let defaultPath = "/etc/escra/config.json"

  /// The longest config that is read, in bytes.
  package static let largestFile = 1 << 20

  /// What to do when a container names another limit for an application than its peers.
  package enum AppConflict: String, CaseIterable, Sendable {
    /// The newest wins: a rolling update must work.
    case accept
    /// The container is refused.
    case refuse
  }

  /// What to do with a container whose supervisor does not start.
  package enum FailureAction: String, CaseIterable, Sendable {
    /// Start it with its declared limits.
    case `continue`
    /// Refuse it.
    case refuse
  }

  /// What the history is used for when a container is created.
  package enum Prediction: String, CaseIterable, Sendable {
    /// For nothing.
    case off
    /// Its first limits are what its earlier runs needed.
    case start
    /// The same, and an application takes in no container that needs more than it has left.
    case admit
  }

  /// What is remembered of containers that have a profile.
  package struct History: Equatable, Sendable {
    /// Where it is kept.
    package var directory = "/var/lib/escra/history"
    /// How many runs of a profile are kept at the least.
    package var runs: Int64 = 200
    /// For how long a run is kept at most, in seconds.
    package var keep: Int64 = 30 * 86_400
    /// What it is used for.
    package var predict = Prediction.off
    /// The defaults.
    package init() {}
  }

  /// A pair of limits that a container gets where it asks for none.
  package struct Floor: Equatable, Sendable {
    /// The least CPU.
    package var cpu = CPUAmount(millicores: 50)
    /// The least memory.
    package var memory = ByteQuantity(bytes: 16 << 20)
    /// The defaults: 50m and 16Mi.
    package init() {}
  }

  /// The most that one application may have; nil is what the node has.
  package struct Ceiling: Equatable, Sendable {
    /// The most CPU.
    package var cpu: CPUAmount?
    /// The most memory.
    package var memory: ByteQuantity?
    /// No ceiling but the node.
    package init() {}
  }

  /// Absolute paths of low-level runtimes, tried before ``builtInRuntimes``.
  package var runtimes: [String] = []
  /// The policy of containers that ask for none; nil leaves them `standard`.
  package var defaultPolicy: PolicyName?
  /// The policies that containers may ask for.
  package var allowedPolicies = PolicyName.allCases
  /// The control law.
  package var law = LawName.headroom
  /// How it is heard that a container needs more CPU.
  package var hooks = HooksChoice.auto
  /// What limits are lowered to unless an annotation says otherwise: 50m and 16Mi.
  package var floor = Floor()
  /// The most that one application may have on this node.
  package var ceiling = Ceiling()
  /// CPUs that no strict container gets, as a kernel CPU list (`0-1,4`); nil reserves none.
  package var reservedCPUs: String?
  /// Bytes of the node's memory that are not given to containers.
  package var hostMemoryReserve: Int64 = 0
  /// What happens to a container that contradicts its application.
  package var appConflict = AppConflict.accept
  /// What is remembered of containers; nil for nothing.
  package var history: History?
  /// The engine that nodes share applications through; nil for none.
  package var cluster: ClusterConfig?
  /// The variable of a container's environment that names its application where no annotation does; nil
  /// for none.
  package var applicationFromEnv: String?
  /// Where the state of containers is kept, if not in /run/escra: for a second instance on a machine.
  package var stateRoot: String?
  /// What happens to a container whose supervisor does not start.
  package var onFailure = FailureAction.continue

  /// The defaults.
  package init() {}

  /// Reads the config of a node.
  ///
  /// - Parameters:
  ///   - path: The file.
  ///   - isRequired: Whether a missing file is an error, as one that was named by hand is; else it
  ///     stands for the defaults.
  /// - Returns: The config, with the defaults for what it does not say.
  /// - Throws: ``OperatorConfigError`` for a file that cannot be read or has an error.
  package static func load(
    path: String, isRequired: Bool = false
  ) throws(OperatorConfigError) -> OperatorConfig {
    let bytes: [UInt8]?
    do throws(SystemError) {
      // Without blocking: a FIFO would keep every call of the runtime for ever.
      let file = try FileDescriptor.open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY)
      let status = try file.status()
      // A directory says EISDIR to its reader.
      bytes =
        status.isRegularFile || status.isDirectory ? try file.readAll(limit: largestFile) : nil
    } catch {
      if error.errno == ENOENT && !isRequired { return OperatorConfig() }
      let named = SystemError(error.step, path, errno: error.errno)
      throw OperatorConfigError(file: path, problem: .unreadable(named))
    }
    guard let bytes else { throw OperatorConfigError(file: path, problem: .notAFile) }
    return try OperatorConfig(parsing: bytes, file: path)
  }

  /// Where runc and crun are on the distributions there are; asked in this order, after
  /// ``runtimes`` and before `PATH`, which Podman leaves empty.
  package static let builtInRuntimes = [
    "/usr/bin/runc",
    "/usr/local/sbin/runc",
    "/usr/local/bin/runc",
    "/usr/sbin/runc",
    "/sbin/runc",
    "/bin/runc",
    "/usr/lib/cri-o-runc/sbin/runc",
    "/run/current-system/sw/bin/runc",
    "/usr/bin/crun",
    "/usr/local/sbin/crun",
    "/usr/local/bin/crun",
    "/usr/sbin/crun",
    "/sbin/crun",
    "/bin/crun",
    "/usr/libexec/crio/crun",
    "/run/current-system/sw/bin/crun",
  ]
}

// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import OCISpec
internal import Quantities
internal import State

/// The operator's config and the invocation's default policy, as far as they could be read.
///
/// A broken config must not keep a user from stopping a container: it is an error only for the
/// calls that ask something of us.
struct Settings {
  private let loaded: Result<OperatorConfig, OperatorConfigError>
  private let named: Result<PolicyName?, PolicyError>

  /// Reads what the call names.
  init(_ invocation: Invocation) {
    let path = invocation.ownConfig?.text
    do throws(OperatorConfigError) {
      loaded = .success(
        try OperatorConfig.load(
          path: path ?? OperatorConfig.defaultPath, isRequired: path != nil))
    } catch { loaded = .failure(error) }
    do throws(PolicyError) {
      if let flag = invocation.ownPolicy {
        named = .success(try PolicyName(flag.text, from: "--escra-policy"))
      } else {
        named = .success(try PolicyName(programName: invocation.programName ?? ""))
      }
    } catch { named = .failure(error) }
  }

  /// The operator's runtimes; of a config with an error those that can be read.
  var runtimes: [String] {
    switch loaded {
    case .success(let config): config.runtimes
    case .failure(let error): error.runtimes
    }
  }

  /// Where the state of containers is; of a config with an error as far as it can be read.
  var stateRoot: StateRoot {
    let path =
      switch loaded {
      case .success(let config): config.stateRoot
      case .failure(let error): error.stateRoot
      }
    return path.map { StateRoot(path: $0) } ?? .system
  }

  /// Whether a container without annotations may be under a policy; a config that cannot be read
  /// might have said so, but a container that does not ask for us does not suffer from it.
  var hasDefaultPolicy: Bool {
    switch named {
    case .failure: true
    // A config that cannot be read has no default policy, and says so elsewhere.
    case .success(let name): name != nil || (try? loaded.get())?.defaultPolicy != nil
    }
  }

  /// The config, for who asks for us.
  func config() throws(Refusal) -> OperatorConfig {
    do throws(OperatorConfigError) { return try loaded.get() } catch {
      throw Refusal(sentence: error.description)
    }
  }

  /// The CPUs that the operator keeps from strict containers.
  func reservedCPUs() throws(Refusal) -> CPUSet {
    // The config's parser has read the list already.
    try config().reservedCPUs.flatMap { CPUSet(list: $0) } ?? CPUSet()
  }

  /// What the program's name or `--escra-policy` says.
  func invocationPolicy() throws(Refusal) -> PolicyName? {
    do throws(PolicyError) { return try named.get() } catch {
      throw Refusal(sentence: error.description)
    }
  }

  /// Whether the operator wants no container without a supervisor.
  var refusesFailures: Bool { (try? loaded.get())?.onFailure == .refuse }

  /// Goes on without a supervisor, if the operator allows that, and says so.
  func continueOrRefuse(_ reason: String) throws(Refusal) {
    if refusesFailures {
      throw Refusal(
        sentence: "the container cannot be supervised: \(reason); the operator's onFailure is "
          + "refuse")
    }
    let sentence = "the container starts with its declared limits, unsupervised: \(reason)"
    warn(sentence)
    escra_syslog(false, "escra-runc: " + sentence)
  }
}

// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import OCISpec
internal import Syscalls

/// Looks at what `create` needs first: the program, the operator's config, a runtime beneath.
struct RuntimeChecks {
  /// The path of escra-runc.
  let program: String
  /// The operator's config that was named by hand, which has to be there.
  let named: String?

  var checks: [Check] {
    var checks = installed
    let (config, found) = config
    checks.append(config)
    return checks + beneath(found)
  }

  private var installed: [Check] {
    guard Self.failure(program) == nil else {
      return [
        .problem(
          "escra-runc",
          "\(program) cannot be executed (\(Self.failure(program) ?? "")); install escra-runc beside "
            + "escra")
      ]
    }
    let said = Program.run(program, ["--version"]).output
    let mark = "escra-runc version "
    let version = said.split(separator: "\n").first { $0.hasPrefix(mark) }?.dropFirst(mark.count)
    var checks: [Check] = []
    if let version, version != EscraVersion.current {
      checks.append(
        .warning(
          "escra-runc",
          "\(program) is of version \(version), and escra of \(EscraVersion.current); install both of "
            + "one version"))
    } else {
      checks.append(.ok("escra-runc", "\(program), version \(EscraVersion.current)"))
    }
    let missing = RuntimeNames.policies.map { "\(program).\($0)" }
      .filter { Self.failure($0) != nil }
    if !missing.isEmpty {
      checks.append(
        .warning(
          "policy names",
          "\(missing.joined(separator: ", ")) cannot be executed, so no engine can say these policies "
            + "by a runtime's name; make them links to escra-runc"))
    }
    return checks
  }

  private var config: (Check, OperatorConfig?) {
    let path = named ?? OperatorConfig.defaultPath
    do throws(OperatorConfigError) {
      let config = try OperatorConfig.load(path: path, isRequired: named != nil)
      let isThere = access(path, F_OK) == 0
      return (
        .ok("config", isThere ? "\(path) is valid" : "no \(path), so all defaults hold"), config
      )
    } catch {
      return (
        .problem(
          "config",
          "\(error.description); until it is mended, create of every container with a policy fails"),
        nil
      )
    }
  }

  /// What `create` would execute, as the runtime looks for it.
  private func beneath(_ config: OperatorConfig?) -> [Check] {
    let configured = config?.runtimes ?? []
    let missing = configured.compactMap { path in Self.failure(path).map { "\(path) (\($0))" } }
    var checks: [Check] = []
    if !missing.isEmpty {
      let sentence =
        "\"runtimes\" of \(named ?? OperatorConfig.defaultPath) names what cannot be executed: "
        + missing.joined(separator: ", ")
      checks.append(
        missing.count < configured.count
          ? .warning("runtimes", sentence + "; another one of the list is used")
          : .problem(
            "runtimes",
            sentence + "; so the first of the built-in list that is there is used instead"))
    }
    let usable = (configured + OperatorConfig.builtInRuntimes).first { Self.failure($0) == nil }
    guard let path = usable ?? Program.find("runc") ?? Program.find("crun") else {
      checks.append(
        .problem(
          "low-level runtime",
          "neither runc nor crun is installed, so no container starts; install runc, or name yours "
            + "under \"runtimes\" in \(OperatorConfig.defaultPath)"))
      return checks
    }
    let version = Program.run(path, ["--version"]).output.split(separator: "\n").first
    checks.append(.ok("low-level runtime", "\(path), \(version.map(String.init) ?? "no version")"))
    return checks
  }

  /// Why a program cannot be executed; nil where it can.
  static func failure(_ path: String) -> String? {
    do throws(SystemError) {
      if access(path, X_OK) != 0 { throw SystemError.last("execute", path) }
      return try FileStatus.following(path).isRegularFile ? nil : "EACCES"
    } catch { return error.symbol }
  }
}

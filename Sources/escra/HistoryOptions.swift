// SPDX-License-Identifier: Apache-2.0
internal import ArgumentParser
internal import OCISpec
internal import State
internal import Syscalls

/// Where histories are.
struct HistoryOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp("The operator's config, which says where histories are.", valueName: "file"))
  var config = OperatorConfig.defaultPath

  @Option(help: ArgumentHelp("The directory of the histories.", valueName: "dir"))
  var directory: String?

  /// All profiles.
  func profiles() throws -> [StoredProfile] {
    let path: String
    if let directory {
      path = directory
    } else {
      do throws(OperatorConfigError) {
        path = (try OperatorConfig.load(path: config).history ?? .init()).directory
      } catch { throw Complaint(error.description) }
    }
    do throws(SystemError) { return try HistoryStore(path: path).profiles() } catch {
      throw Complaint(error.description + (error.errno == 13 ? "; run it as root" : ""))
    }
  }

  /// The profile of a name.
  ///
  /// - Parameter typed: NAME, or NAMESPACE/NAME.
  /// - Returns: The profile.
  /// - Throws: ``Complaint`` where there is none, or more than one.
  func profile(_ typed: String) throws -> StoredProfile {
    try chooseProfile(typed, among: try profiles())
  }
}

extension StoredProfile {
  /// NAMESPACE/NAME in Kubernetes, else NAME.
  var title: String { namespace.map { "\($0)/\(name)" } ?? name }
}

/// Finds the profile that an argument names.
///
/// - Parameters:
///   - typed: NAME, NAMESPACE/NAME, or the name of the profile's directory.
///   - profiles: All there are.
/// - Returns: The profile.
/// - Throws: ``Complaint`` where there is none, or more than one.
func chooseProfile(
  _ typed: String, among profiles: [StoredProfile]
) throws(Complaint) -> StoredProfile {
  let found = profiles.filter {
    $0.name == typed || $0.title == typed || $0.path.hasSuffix("/" + typed)
  }
  if found.count == 1 { return found[0] }
  if found.isEmpty {
    throw Complaint(
      "no profile \"\(typed)\" has a history; escra history lists those that have one")
  }
  let paths = found.map { profile in
    let directory = profile.path.split(separator: "/").last ?? ""
    return "\(directory) (\(profile.title) of \(profile.root))"
  }
  throw Complaint(
    "\(found.count) profiles are called \"\(typed)\"; write one of "
      + paths.joined(separator: ", "))
}

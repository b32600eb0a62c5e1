// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import LiveLimits
internal import OCISpec

/// What is different for a container that has a history.
extension SupervisedStart {
  /// What its runs are recorded under; nil where none is.
  var profile: ProfileTarget? {
    guard let history, let name = policy.profile, policy.name != .strict else { return nil }
    return ProfileTarget(
      profile: name, user: geteuid(), root: call.root, namespace: policy.scope,
      directory: history.directory, runs: history.runs, keep: history.keep,
      isTraced: policy.isTraced)
  }
}

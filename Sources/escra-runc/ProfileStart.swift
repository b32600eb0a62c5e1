// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Control
internal import Glibc
internal import OCISpec
internal import State
internal import Syscalls

/// What is different for a container that has a history.
extension SupervisedStart {
  /// What its runs are recorded under; nil where none is.
  func profileTarget() -> ProfileTarget? {
    guard let history, let name = policy.profile, policy.name != .strict else { return nil }
    return ProfileTarget(
      profile: name, user: geteuid(), root: call.root, namespace: policy.scope,
      directory: history.directory, runs: history.runs, keep: history.keep,
      isTraced: policy.isTraced)
  }
}

extension SupervisedStart {
  /// What its earlier runs needed at first; nil where that is not known, or not wanted.
  func predict() -> Prediction? {
    guard policy.name == .reactive, let history, history.predict != .off, let profile else {
      return nil
    }
    let needs = HistoryStore.early(of: profile)
    if needs.isDamaged {
      escra_syslog(
        false, "escra-runc: some bytes in \(profile.path) are no records; they are left out")
    }
    return Prediction(needs, now: wallClockNow())
  }
}

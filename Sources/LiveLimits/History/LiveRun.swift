// SPDX-License-Identifier: Apache-2.0
package import Control
internal import Glibc
package import State
package import Syscalls

extension HistoryStore {
  /// The run of a container that lives, as its supervisor knows it now.
  ///
  /// - Parameters:
  ///   - instance: The container's instance directory.
  ///   - target: Its profile.
  /// - Returns: The run; nil where no record came within a second.
  /// - Throws: ``SystemError``; ENOENT or ECONNREFUSED where it has no supervisor.
  package func snapshot(
    of instance: String, _ target: ProfileTarget
  ) throws(SystemError) -> [Run]? {
    let directory = try StateDirectory(opening: instance)
    let before = wallClockNow()
    guard try directory.connect().send(.snapshot) else { return nil }
    for _ in 0..<100 {
      let run = StoredProfile(path: target.path)?.runs.first {
        $0.total.nonce == directory.nonce && $0.total.written >= before
      }
      if let run { return [run] }
      usleep(10_000)
    }
    return nil
  }
}

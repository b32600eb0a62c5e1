// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Cgroups
internal import Glibc
internal import Quantities
internal import State
internal import Syscalls

/// What a supervisor needs to record its container, opened while there is the privilege to.
enum FoundHistory {
  /// Opens it.
  ///
  /// - Parameters:
  ///   - target: Where it is to be recorded; nil where it is not.
  ///   - location: Where the container is.
  ///   - inner: Its own group in the memory hierarchy, if the location's is around that.
  ///   - nonce: Its instance.
  ///   - id: Its id, for a message.
  ///   - isFirst: Whether no supervisor has had it before.
  /// - Returns: The files; none where it cannot be recorded, which syslog is told.
  static func open(
    _ target: ProfileTarget?, _ location: CgroupLocation, around inner: String?,
    _ nonce: UInt64, id: String,
    isFirst: Bool
  ) -> [ReexecState.Place: Int32] {
    guard let target else { return [:] }
    var open: [ReexecState.Place: Int32] = [:]
    do throws(SystemError) {
      let files = try HistoryStore.open(target, nonce: nonce, isFirst: isFirst)
      open[.history] = files.segment
      open[.historyTrace] = files.trace
    } catch {
      escra_syslog(true, "escra: container \(id) is not recorded in the history: \(error)")
      return [:]
    }
    // What runs in a supervisor that was taken over fills no disk.
    _ = escra_limit_file_size(UInt(HistoryStore.largestFile))
    func file(_ file: CgroupFile, of directory: String?) -> Int32? {
      directory.flatMap {
        FileDescriptor.openIfPossible(file, of: $0, location.version, O_RDONLY)?.release()
      }
    }
    open[.historyMemory] = file(.memoryUsage, of: location.memory)
    open[.historyPeak] = file(.memoryPeak, of: location.memory)
    let own = location.version.countsKillsBelow ? location.memory : inner ?? location.memory
    open[.historyKills] = file(.memoryKills, of: own)
    open[.historyStatistics] = file(.cpuStatistics, of: location.cpu)
    return open
  }
}

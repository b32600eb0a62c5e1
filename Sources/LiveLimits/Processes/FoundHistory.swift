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
    let isUnified = location.version == .v2
    func file(_ path: String?) -> Int32? {
      path.flatMap { try? FileDescriptor.open($0, O_RDONLY).release() }
    }
    func memory(_ name: String) -> Int32? { file(location.memory.map { $0 + "/" + name }) }
    open[.historyMemory] = memory(isUnified ? "memory.current" : "memory.usage_in_bytes")
    open[.historyPeak] = memory(isUnified ? "memory.peak" : "memory.max_usage_in_bytes")
    // On cgroup v1 a kill is counted in the group of the process alone.
    let (own, name) =
      isUnified
      ? (location.memory, "memory.events") : (inner ?? location.memory, "memory.oom_control")
    open[.historyKills] = file(own.map { $0 + "/" + name })
    open[.historyStatistics] = file(location.cpu + "/cpu.stat")
    return open
  }
}

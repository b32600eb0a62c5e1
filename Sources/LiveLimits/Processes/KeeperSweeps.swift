// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Cgroups
internal import Glibc
internal import State
internal import Syscalls

extension Keeper {
  /// Removes the groups around those of containers that are gone.
  ///
  /// The low-level runtime removes the inner group; then the keeper tries the outer one again.
  func sweepGroups() {
    let left = OuterGroups.sweep(root) { try? groupWatch.addChildren(of: $0) }
    if left == nil || (left ?? 0 > 0 && !groupWatch.hears) { lookAgain(in: 1_000_000_000) }
  }

  /// What a container held of its pod comes back when its instance is gone.
  func sweepParents() {
    guard access(root.parents, F_OK) == 0 else { return }
    if ParentRegistry.sweep(root) { lookAgain(in: 500_000_000) }
  }

  /// The same when no container is left.
  ///
  /// cgroup v1 compares a parent with a group below it also when that one has been removed, as long
  /// as a task that was in it has not been reaped (kernel/sched/core.c, sched_release_group). A
  /// supervisor lowers its container's limit when it ends; one that was killed has not.
  func leaveParents() {
    let deadline = monotonicNow() + Self.parentPatience
    while access(root.parents, F_OK) == 0, ParentRegistry.sweep(root),
      root.instances().isEmpty, monotonicNow() < deadline
    {
      usleep(50_000)
    }
  }

  /// The keeper is in the root group as supervisors are, and no fence knows its pid.
  func keepOffStrictCPUs() {
    let wasSeated = isSeated
    isSeated = CPUFence.seatCaller(root)
    if wasSeated && !isSeated { CPUFence.unseatCaller() }
  }

  /// Removes what dead supervisors have left in the hooks; that costs a little memory and no time,
  /// so it can wait until more have died.
  func sweepHooks(leavingNothing isEmpty: Bool) {
    guard access(root.hooks, F_OK) == 0 else { return }
    // At the end a loader may be at work for a supervisor that died, and no process sweeps after
    // us.
    let patience = isEmpty ? HookLoader.longPatience : 0
    guard let share = try? HookLoader(root, patience: patience) else {
      nextSweep = monotonicNow() + Self.sweepDelay
      return
    }
    share.sweep(leavingNothing: isEmpty)
  }

  /// Has the kernel tell when tasks of the machine wait for a CPU, or for memory: that is when a
  /// supervisor may be needed, and one that was stopped does not come.
  ///
  /// 20 ms in 2 s, which the kernel allows without CAP_SYS_RESOURCE since Linux 6.5
  /// (Documentation/accounting/psi.rst). Tasks that a limit throttles count as waiting.
  ///
  /// - Returns: The triggers' descriptors.
  static func watchPressure() -> [Int32] {
    ["cpu", "memory"].compactMap { name in
      guard let file = FileDescriptor.openIfPossible("/proc/pressure/\(name)", O_RDWR | O_NONBLOCK),
        file.writeIfPossible("some 20000 2000000\0")
      else { return nil }
      return file.release()
    }
  }

  /// Ends supervisors that were stopped; their deaths are noticed then.
  func endStopped() {
    for (number, path) in watched {
      let socket = ControlSocket(owning: FileDescriptor(owning: number))
      let peer = socket.peer?.pid
      _ = socket.release()
      guard let pid = peer, ProcessIdentity.isStopped(pid: pid),
        let supervisor = StateDirectory.load(at: path)?.supervisor,
        supervisor.pid == pid, ProcessIdentity(pid: pid) == supervisor
      else { continue }
      _ = RegistryLock.evict(pid)
    }
  }
}

// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Cgroups
internal import Control
internal import Glibc
internal import LiveLimits
internal import OCISpec
internal import State
internal import Syscalls

extension SupervisedStart {
  func makeDirectory() throws(LaunchFailure) -> StateDirectory {
    do throws(SystemError) {
      return try StateDirectory.create(in: call.stateRoot, root: call.root, id: id)
    } catch { throw LaunchFailure(error.description) }
  }

  func state(
    _ base: CPUBase, in directory: borrowing StateDirectory, _ launched: inout RuntimeCall
  ) throws(SystemError) -> ContainerState {
    guard let runtime = ProcessIdentity(pid: getpid()) else {
      throw SystemError("find", "/proc/self/stat", errno: ENOENT)
    }
    let pidFile: String
    if let given = call.invocation.pidFile {
      guard String(validatingCString: call.vector.bytes(of: given)) != nil else {
        throw SystemError("watch", given.text, errno: EILSEQ)
      }
      pidFile = absolutePath(given.text)
    } else {
      pidFile = directory.ownPidFile
      // An empty one would count, being the last.
      for entry in call.invocation.flags.entries where entry.name == "pid-file" {
        launched.vector.remove(Array(entry.arguments))
      }
      if directory.hasRoomForPidFile {
        launched.vector.insert(["--pid-file", pidFile], after: call.invocation.verbIndex ?? 1)
      }
    }
    var state = ContainerState(
      root: call.root, id: id, bundle: absolutePath(call.invocation.bundle?.text ?? "."),
      policy: policy.name, runtime: runtime, pidFile: pidFile, base: base)
    state.config = call.invocation.config.map { absolutePath($0.text) }
    let stale = FileStatus.ifThere(pidFile)
    (state.stalePidFile, state.stalePidFileModified) = (stale?.identity, stale?.modified)
    state.cgroupName = cgroupName
    state.cgroupPath = cgroup.path
    state.law = policy.law.rawValue
    state.usesHooks = policy.hooks == .auto
    state.declaredMemory = document.declared.memory
    state.memory = memoryBase
    state.membership = membership
    state.app = policy.app
    state.profile = profile
    state.admitsPrediction = history?.predict == .admit && prediction != nil
    if policy.name == .reactive {
      (state.raisesPodCPU, state.raisesPodMemory) = raisesPod
    }
    return state
  }

  /// Where the low-level runtime will put it.
  var cgroup: CgroupsPath {
    CgroupsPath(document.cgroupsPath, id: id, isSystemds: call.invocation.systemdCgroup)
  }

  /// The same, if config.json names no absolute place and it is known where the runtime would put it.
  var placed: CgroupsPath {
    let isSystemds = call.invocation.systemdCgroup
    guard cgroup.path == nil, cgroup.unit == nil, CgroupMount.hasUnifiedCPU,
      let named = ExpectedGroup.named(
        document.cgroupsPath ?? "", id: id, isSystemds: isSystemds, runtime: call.runtime,
        own: CPURegistry.groupOfCaller())
    else { return cgroup }
    return CgroupsPath(named, id: id, isSystemds: isSystemds)
  }

  /// Why its limits are another container's, as far as that is known before it exists; nil where they
  /// are not.
  var groupsOwner: String? {
    // A container of this id is the runtime's to refuse.
    guard call.instances().isEmpty else { return nil }
    return cgroup.path.flatMap { GroupOwner.reason(at: $0, call.stateRoot) }
  }

  /// What that group is called.
  var cgroupName: String? { cgroup.name }
}

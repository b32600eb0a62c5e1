// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import CPUSets
internal import Cgroups
internal import Control
internal import Glibc
internal import LiveLimits
internal import OCISpec
internal import Quantities
internal import State
internal import Syscalls

extension SupervisedStart {
  /// Gives the container CPUs of its own and starts its supervisor, which keeps everybody else off
  /// them.
  ///
  /// There is no going on without: a reservation that is not kept is worse than none.
  ///
  /// - Returns: The call that creates the container.
  /// - Throws: ``Refusal``, with nothing left behind.
  func launchStrict(
    _ bundle: borrowing Bundle, _ locked: consuming BundleEdit?
  ) throws(Refusal) -> RuntimeCall {
    let asked = try DeclaredCPUs(
      bandwidth: document.declared.cpu, cpuset: document.declared.cpuset
    ).reservation()
    guard asked != CPURequest() else {
      throw Refusal(
        sentence: "the policy \"strict\" reserves the CPUs that a container declares, and this one "
          + "declares none; give it a CPU limit of whole CPUs (quota 100000 of period 100000 is one) "
          + "or a CPU set")
    }
    if let other = groupsOwner {
      throw Refusal(sentence: "the policy \"strict\" cannot be kept: \(other)")
    }
    let reserved = try settings.reservedCPUs()
    var launched = call
    do throws(LaunchFailure) {
      try checkMachine()
      let edit = try held(locked, bundle)
      let directory = try makeDirectory()
      let outer = makeOuter(for: directory)
      let state: ContainerState
      let claim: CPUAllocation
      do throws(LaunchFailure) {
        (state, claim) = try self.claim(asked, reserved, in: directory, outer, &launched)
      } catch {
        OuterGroups.remove(directory.nonce, call.stateRoot)
        directory.remove()
        throw error
      }
      try startStrictSupervisor(directory, edit)
      // From here on the supervisor clears up: it sees us end without a container.
      var change = ConfigEdit(
        cpuQuota: document.declared.cpu == nil ? nil : ConfigEdit.noQuota,
        cpus: claim.held.description, mems: claim.nodes?.description)
      if let group = outer.group {
        enter(group, state, &change)
      } else if let first = scopeMemory.map(\.most) ?? memoryBase?.needed {
        change.memoryLimit = first
        change.memorySwap = memoryBase?.requestedSwap(at: first)
      }
      try apply(change, edit, bundle)
    } catch {
      throw Refusal(sentence: "the policy \"strict\" cannot be kept: \(error.sentence)")
    }
    escra_reset_affinity()
    return launched
  }

  /// Takes the CPUs, under the registry's lock, and writes that down.
  private func claim(
    _ asked: CPURequest, _ reserved: CPUSet, in directory: borrowing StateDirectory,
    _ outer: (group: OuterGroup?, reason: String?), _ launched: inout RuntimeCall
  ) throws(LaunchFailure) -> (ContainerState, CPUAllocation) {
    do {
      let registry = try CPURegistry(locking: call.stateRoot)
      let group = outer.group.map { $0.path + "/" + $0.inner } ?? expectedCpusetGroup
      let claim = try registry.grant(
        asked, group: group, reserved: reserved, memory: document.declared.memory,
        holders: registry.holders())
      var state = try state(base, in: directory, &launched)
      state.claim = claim
      if document.declared.mems != nil { state.claim?.nodes = nil }
      if let group = outer.group {
        state.enter(group)
      } else if let scopeMemory {
        state.memory = scopeMemory
      }
      state.oneGroup = outer.reason
      try directory.save(state)
      return (state, state.claim ?? claim)
    } catch let error as any (Error & CustomStringConvertible) {
      throw LaunchFailure(error.description)
    } catch { throw LaunchFailure("an unforeseen error") }
  }

  /// How long the first supervisor may take where there is no container without it.
  ///
  /// Neither a strict container nor a member of an application has declared limits to fall back on,
  /// and a crowded machine takes its time to make a partition, or to bring a broker.
  static let secondsWhereNeeded: Int32 = 10

  private func startStrictSupervisor(
    _ directory: borrowing StateDirectory, _ edit: borrowing BundleEdit
  ) throws(LaunchFailure) {
    let supervisor: StartedSupervisor
    do throws(SystemError) {
      supervisor = try Launcher.startSupervisor(of: directory, id: id, sharing: edit)
    } catch {
      OuterGroups.remove(directory.nonce, call.stateRoot)
      directory.remove()
      throw LaunchFailure(error.description)
    }
    let answer = supervisor.socket.receive(within: Self.secondsWhereNeeded * 1000)
    if case .message(.ready) = answer { return }
    // It may have narrowed others already, and is not to be relied on to let them back. Until it is
    // gone it may have the lock for that.
    try? supervisor.process.send(SIGKILL)
    supervisor.process.hasEnded(within: Self.secondsWhereNeeded * 1000)
    OuterGroups.remove(directory.nonce, call.stateRoot)
    // Whatever is in the way, the keeper tries again.
    if (try? CPUFence(root: call.stateRoot).release(directory)) == nil {
      Launcher.callKeeper(call.stateRoot)
    }
    throw .notReady(answer, within: Self.secondsWhereNeeded)
  }

  /// Where the container's group will be in the cpuset hierarchy.
  private var expectedCpusetGroup: String {
    let path = document.cgroupsPath ?? ""
    let version = CpusetTree.machineVersion
    if call.invocation.systemdCgroup && path.utf8.first != UInt8(ascii: "/") {
      let unit =
        path.isEmpty
        ? ExpectedGroup.unitWithoutPath(id: id, runtime: call.runtime) : cgroupName ?? id
      return ExpectedGroup.systemdPath(path, unit: unit, version)
    }
    return ExpectedGroup.path(
      path, id: id, own: CPURegistry.groupOfCaller(), version,
      maker: ExpectedGroup.maker(call.runtime))
  }
}

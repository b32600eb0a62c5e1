// SPDX-License-Identifier: Apache-2.0
internal import Application
internal import Cgroups
internal import Control
internal import Glibc
internal import Quantities
internal import State
internal import Syscalls

/// The part of a container in its application: what the laws want is asked for, what was granted
/// is applied.
final class ApplicationComponent: Component, LimitKeeper {
  private let container: SupervisedContainer
  private let cpu: CPUComponent
  private let priority: Int32
  /// For the descriptors of ``client``, until that is there.
  private var poller: Poller?
  private var client: Participation?
  /// What follows from grants that were applied while the client worked.
  private var pending: [Effect] = []

  init(
    _ container: SupervisedContainer, _ cpu: CPUComponent, priority: Int32,
    _ poller: consuming Poller
  ) {
    self.container = container
    self.cpu = cpu
    self.priority = priority
    self.poller = consume poller
  }

  var deadline: Nanoseconds? { client?.deadline }
  // An idle container's supervisor answers its peers, and needs the same pages again.
  var usesDeepStack: Bool { false }

  func handle(_ event: LoopEvent) throws(SystemError) -> [Effect] {
    switch event {
    case .began: try begin()
    case .readable(let token):
      client?.handle(token)
      return takePending() + [.judgeOverheard]
    case .deadline:
      client?.tick()
      return takePending() + [.judgeOverheard]
    case .effect(let effect): handle(effect)
    case .ended: client?.leave()
    case .settled: return []
    }
    return takePending()
  }

  private func handle(_ effect: Effect) {
    guard let client else { return }
    switch effect {
    case .want(let amount, let resource, let inUse):
      client.want(amount, of: resource, inUse: inUse)
    case .wantNoMore(let resource):
      if let wanted = client.wanted(resource), let held = client.held(resource), wanted > held {
        client.want(held, of: resource)
      }
    case .found(let amount, let resource): client.found(amount, of: resource)
    case .redeclare(let resource, let share): client.redeclare((resource, share))
    case .message(.look, _): raiseInner()
    default: break
    }
  }

  private func takePending() -> [Effect] {
    defer { pending = [] }
    return pending
  }

  private func begin() throws(SystemError) {
    // The root of its file system is its application's directory.
    let path = "/"
    let (base, memory) = (container.base, container.memory)
    // What the kernel has is what it holds.
    let held = container.limits.quota
    var record = MemberRecord(
      nonce: container.directory.nonce, priority: priority, cpu: base.share,
      memory: memory?.share)
    record.cpu.held = min(base.cores(of: held), ApplicationMessage.most)
    record.isResting = true
    // Gone: it is made again.
    let known = try? ApplicationDirectory(opening: path)
    let file: MemberFile
    if let adopted = known?.adopt(container.directory.nonce) {
      file = adopted
      file.replace(record)
    } else {
      file = try ApplicationDirectory(opening: path).register(record)
    }
    guard let poller = poller.take() else { return }
    let client = try Participation(
      ApplicationDirectory(opening: path), file, most: (base.limit, memory?.base.limit ?? .max),
      on: poller, self)
    self.client = client
    container.isMember = true
    container.limits.granted = record.cpu.held
    try cpu.openBudget(held: held)
    client.seek()
  }

  /// Applies what the application has granted.
  func keep(_ amount: Int64, of resource: SharedResource) -> (held: Int64, spent: Int64) {
    if resource == .memory {
      guard let memory = container.memory else { return (amount, 0) }
      if amount > memory.base.inner ?? .max { raiseInner((0, amount)) }
      let (held, inUse, entry) = memory.keep(amount)
      if let entry { container.log.append(entry) }
      return (held, inUse)
    }
    if amount > container.base.inner?.nanocores ?? .max { raiseInner((amount, 0)) }
    let (held, spent, effects) = cpu.keep(amount)
    pending += effects
    return (held, spent)
  }

  /// Raises what programs in the container see to its application's limit, if that has grown.
  ///
  /// - Parameter amounts: What is about to be granted, in nanocores and bytes.
  private func raiseInner(_ amounts: (cpu: Int64, memory: Int64) = (0, 0)) {
    let memory = container.memory
    guard container.base.application != nil || memory?.base.application != nil,
      let limits = client?.limits
    else { return }
    let before = (container.base.inner, memory?.base.inner)
    container.limits.raiseInner(to: max(limits.cpu, amounts.cpu))
    memory?.limits.raiseInner(to: max(limits.memory, amounts.memory))
    if before != (container.base.inner, memory?.base.inner) { container.save() }
  }
}

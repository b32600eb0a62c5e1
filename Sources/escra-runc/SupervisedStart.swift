// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Cgroups
internal import Control
internal import Glibc
internal import LiveLimits
internal import OCISpec
internal import Quantities
internal import State
internal import Syscalls

/// `create`, `run` and `restore`: the verbs that start a container.
///
/// Without an annotation of ours and without a default policy this reads config.json once, finds
/// nothing, and becomes the low-level runtime. What is wrong with a bundle is that one's to say.
func supervisedStart(_ call: RuntimeCall, _ settings: Settings) -> Never {
  let next: RuntimeCall
  do throws(Refusal) {
    next = try underPolicy(call, settings) ?? call
  } catch { call.fail(error.sentence) }
  next.pass()
}

/// The call to make for a container that is under a policy; nil for one that is not.
private func underPolicy(
  _ call: RuntimeCall, _ settings: Settings
) throws(Refusal) -> RuntimeCall? {
  guard let id = call.invocation.id?.text else { return nil }
  let bundle: Bundle
  do throws(ConfigError) { bundle = try openBundle(of: call) } catch {
    return try continueUnread(error, settings)
  }
  // An edit that a crash left behind is undone first. Busy: its owner is at work; then what stands
  // there decides whether there is a policy, which no edit changes.
  _ = try? bundle.heal()
  let bytes: [UInt8]
  do throws(ConfigError) { bytes = try bundle.config() } catch {
    return try continueUnread(error, settings)
  }
  let mentionsUs = bytes.withUnsafeBytes { ConfigDocument.mentionsEscra($0) }
  guard mentionsUs || settings.hasDefaultPolicy else { return nil }
  var start = try SupervisedStart(id: id, call: call, settings: settings, bytes: bytes)
  if start.policy.name == .standard { return nil }
  // What an edit does change is the limit: nobody else's may be taken for the declared one.
  var busy: ConfigError?
  let edit = lock(bundle, &busy)
  if let busy {
    try start.giveUpLocked(bundle, busy)
    return nil
  }
  // A config.json that cannot be read now is the low-level runtime's to complain of.
  if edit != nil, let original = try? bundle.config(), original != bytes {
    start = try SupervisedStart(id: id, call: call, settings: settings, bytes: original)
  }
  // The low-level runtime says why the kernel takes no such limit; no edit of ours may hide it.
  if start.document.declared.cpuIsRefused, start.policy.name != .strict { return nil }
  return start.policy.name == .strict
    ? try start.launchStrict(bundle, edit) : try start.launch(bundle, edit)
}

/// Goes on where the config cannot be read, and says so unless the low-level runtime will.
private func continueUnread(
  _ error: ConfigError, _ settings: Settings
) throws(Refusal) -> RuntimeCall? {
  if !error.isOfRuntime { try settings.continueOrRefuse(error.description) }
  return nil
}

/// The right to edit the bundle; nil where nothing can be written in it, which may not be needed.
private func lock(_ bundle: borrowing Bundle, _ busy: inout ConfigError?) -> BundleEdit? {
  do throws(ConfigError) { return try bundle.edit() } catch {
    if case .busy = error { busy = error }
    return nil
  }
}

/// The config that a call names, or that of the bundle, which may be the working directory.
private func openBundle(of call: RuntimeCall) throws(ConfigError) -> Bundle {
  if let config = call.invocation.config {
    return try Bundle(config: call.vector.bytes(of: config))
  }
  guard let named = call.invocation.bundle else { return try Bundle(".") }
  return try Bundle(call.vector.bytes(of: named))
}

extension ConfigError {
  /// Whether the low-level runtime meets the same error, and says it.
  fileprivate var isOfRuntime: Bool {
    guard case .system(let error) = self else { return false }
    return [ENOENT, ENOTDIR, EISDIR, EACCES, EPERM, ELOOP, ENAMETOOLONG, ENXIO]
      .contains(error.errno)
  }
}

/// A reason not to create a container, as the sentence that says so.
struct Refusal: Error {
  let sentence: String

  /// Turns any error of ours into a refusal.
  static func translating<Result>(_ body: () throws -> Result) throws(Refusal) -> Result {
    do { return try body() } catch let error as any (Error & CustomStringConvertible) {
      throw Refusal(sentence: error.description)
    } catch { throw Refusal(sentence: "an unforeseen error") }
  }
}

/// A container that is to be started under a policy.
struct SupervisedStart {
  let policy: ContainerPolicy
  let id: String
  let call: RuntimeCall
  let settings: Settings
  let document: ConfigDocument
  let memoryReserve: Int64
  /// Which limits of a pod may rise with those of its containers: those that the operator's ceiling
  /// speaks of.
  let raisesPod: (cpu: Bool, memory: Bool)
  /// Whether the application's limits are to stay what they are.
  let refusesConflicts: Bool
  /// What the operator wants to be remembered.
  let history: OperatorConfig.History?
  /// What its runs are recorded under; nil where none is.
  private(set) var profile: ProfileTarget?
  /// What its earlier runs needed at first, where the operator wants to start from that.
  var prediction: Prediction?
  /// What is to be restored; nil where nothing is, or nobody will move the memory limit.
  let image: CheckpointImage?

  /// Finds out what holds for the container.
  init(
    id: String, call: RuntimeCall, settings: Settings, bytes: [UInt8]
  ) throws(Refusal) {
    let config = try settings.config()
    let invocationDefault = try settings.invocationPolicy()
    let parsed = try Refusal.translating {
      let document = try ConfigDocument(bytes)
      let policy = try ContainerPolicy.resolve(
        annotations: document.annotations,
        variables: config.applicationFromEnv.map { document.variables(of: $0) } ?? [],
        declared: DeclaredLimits(
          cpu: document.declared.cpu?.nanocores.map(CPUAmount.init(nanocores:)),
          memory: document.declared.memory),
        config: config,
        node: NodeCapacity(
          millicores: Int64(Machine.onlineCPUs().count) * 1000, memory: Machine.memory()),
        invocationDefault: invocationDefault)
      return (document, policy)
    }
    (document, policy) = parsed
    memoryReserve = config.hostMemoryReserve
    raisesPod = (config.ceiling.cpu != nil, config.ceiling.memory != nil)
    history = config.history
    prediction = nil
    refusesConflicts = config.appConflict == .refuse
    self.id = id
    self.call = call
    self.settings = settings
    let isMoved = policy.name != .standard && policy.name != .observe
    image =
      call.invocation.verb == .restore && isMoved
      ? CheckpointImage(call.invocation.imagePath.map(call.vector.bytes)) : nil
    profile = profileTarget()
    if image == nil { prediction = predict() }
    if let image, let most = memoryBase?.bounds.ceiling, image.least > most {
      throw Refusal(sentence: tooLarge(image, most))
    }
  }

  /// CRIU would fill the memory up to the limit, and be killed there.
  private func tooLarge(_ image: CheckpointImage, _ most: Int64) -> String {
    let key =
      membership == nil || policy.ownMemoryMaximum != nil
      ? AnnotationKey.memoryMax.name : AnnotationKey.appMemory.name
    let path = call.invocation.imagePath?.text ?? CheckpointImage.defaultPath
    let needed = ByteQuantity(bytes: (min(image.least, .max - 0xf_ffff) + 0xf_ffff) & ~0xf_ffff)
    return "the checkpoint in \"\(path)\" needs \(needed) of memory, and "
      + "\(ByteQuantity(bytes: most)) is the most that the container may have; write a larger "
      + "\(key) into the bundle's config.json"
  }

  /// Starts the supervisor.
  ///
  /// - Parameters:
  ///   - bundle: The bundle.
  ///   - edit: The lock on it; nil where it could not be had.
  /// - Returns: The call that creates the container.
  /// - Throws: ``Refusal`` where the operator wants no container that is not supervised.
  func launch(
    _ bundle: borrowing Bundle, _ edit: consuming BundleEdit?
  ) throws(Refusal) -> RuntimeCall {
    var launched = call
    let other = policy.name == .reactive ? groupsOwner : nil
    if let other {
      if membership != nil, let app = policy.app {
        throw Refusal(sentence: "io.escra.app \"\(app)\": \(other)")
      }
      try settings.continueOrRefuse(other)
    }
    do throws(LaunchFailure) {
      // Also where it is known to leave the container alone: its instance says so to `escra ps`.
      try startSupervisor(bundle, edit, &launched, edits: other == nil)
    } catch {
      try continueUnsupervised(error)
      return launched
    }
    // A mask that the caller was given stays with the container's tasks, and since Linux 6.2 it
    // survives a move between cpusets: the container would never leave its caller's CPUs.
    escra_reset_affinity()
    return launched
  }

  /// Goes on without a supervisor, if that may be, and says so.
  private func continueUnsupervised(_ failure: LaunchFailure) throws(Refusal) {
    // Its limits are its application's, and nobody else can say what it may have.
    if membership != nil, let app = policy.app {
      throw Refusal(sentence: "io.escra.app \"\(app)\": \(failure.sentence)")
    }
    try settings.continueOrRefuse(failure.sentence)
  }

  /// Goes on without a supervisor where another process keeps the bundle's lock.
  fileprivate func giveUpLocked(
    _ bundle: borrowing Bundle, _ error: ConfigError
  ) throws(Refusal) {
    // What the low-level runtime would read is another container's limit.
    if policy.name == .strict || bundle.isEdited { throw Refusal(sentence: error.description) }
    try continueUnsupervised(LaunchFailure(error.description))
  }

  /// Refuses what the supervisor would meet only behind READY, when there is nobody to tell.
  func checkMachine() throws(LaunchFailure) {
    if call.invocation.makesNoCgroup {
      throw LaunchFailure("--cgroup-manager=disabled gives it no cgroup of its own")
    }
    let most = escra_most_descriptors()
    let needed = Launcher.descriptors(cpus: Machine.onlineCPUs().count)
    if most < needed {
      throw LaunchFailure(
        "its supervisor needs \(needed) open files, and the hard limit is \(most); raise it "
          + "(ulimit -Hn)")
    }
    guard policy.name != .observe else { return }
    for controller in policy.memoryIsManaged ? ["cpu", "memory"] : ["cpu"] {
      if let point = CgroupMount.readOnlyPoint(of: controller[...]) {
        throw LaunchFailure(
          "the \(controller) hierarchy is mounted read-only at \(point); mount it read-write")
      }
    }
  }

  /// Leaves an instance without a supervisor for the tool to show, with the low-level runtime's pid
  /// file for the keeper to see its end; nothing where the container is not going to be.
  private func abandon(
    _ directory: borrowing StateDirectory, _ failure: LaunchFailure, _ launched: inout RuntimeCall
  ) {
    OuterGroups.remove(directory.nonce, call.stateRoot)
    if membership == nil, !settings.refusesFailures, var state = directory.load() {
      state.leaveOuter(name: cgroup.name, path: cgroup.path)
      state.unsupervised = failure.sentence
      // What cannot be left is removed below.
      if (try? directory.save(state)) != nil, (try? directory.mark(.done)) != nil {
        // A keeper that lives already has looked at the others, and not at this one.
        Launcher.callKeeper(call.stateRoot, about: state, directory.nonce)
        return
      }
    }
    membership?.forget(directory.nonce, call.stateRoot)
    directory.remove()
    launched = call
  }

  private func startSupervisor(
    _ bundle: borrowing Bundle, _ locked: consuming BundleEdit?, _ launched: inout RuntimeCall,
    edits: Bool
  ) throws(LaunchFailure) {
    var base = base
    let initial = withinAncestors(base.limit(of: base.initial()), base)
    let directory = try makeDirectory()
    let outer = edits ? makeOuter(for: directory) : (group: nil, reason: nil)
    let isInOneGroup = outer.group.map { $0.kind == .legacy } ?? true
    base.countsCPUs =
      policy.name == .reactive && membership == nil && isInOneGroup && policy.visible == .declared
    let scopeMemory = edits && policy.name == .reactive && isInOneGroup ? scopeMemory : nil
    // What a member begins with nobody knows yet.
    let isFirstWritten =
      policy.name == .reactive && edits && isInOneGroup
      && (membership != nil || base.quota(of: declared) != base.quota(of: initial)
        || memoryBase?.first != nil || scopeMemory?.most != document.declared.memory)
    if isFirstWritten { base.told = initial }
    let needsEdit = isFirstWritten || outer.group != nil

    do throws(SystemError) {
      var state = try state(base, in: directory, &launched)
      if let scopeMemory { state.memory = scopeMemory }
      if let group = outer.group { state.enter(group) }
      state.oneGroup = outer.reason
      try directory.save(state)
    } catch {
      OuterGroups.remove(directory.nonce, call.stateRoot)
      directory.remove()
      launched = call
      throw LaunchFailure(error.description)
    }
    let edit: BundleEdit
    do throws(LaunchFailure) {
      try checkMachine()
      edit = needsEdit ? try held(locked, bundle) : .none
    } catch {
      abandon(directory, error, &launched)
      throw error
    }
    let supervisor: StartedSupervisor
    do throws(SystemError) {
      supervisor = try Launcher.startSupervisor(of: directory, id: id, sharing: edit)
    } catch {
      let failure = LaunchFailure(error.description)
      abandon(directory, failure, &launched)
      throw failure
    }

    let patience = membership == nil ? 1 : Self.secondsWhereNeeded
    let answer = supervisor.socket.receive(within: patience * 1000)
    do throws(LaunchFailure) {
      if case .message(.refused(let why)) = answer {
        throw LaunchFailure(refusal(why))
      }
      guard case .message(.ready(let limit, let memory)) = answer else {
        throw .notReady(answer, within: patience)
      }
      var change = ConfigEdit()
      if isFirstWritten {
        let memory = scopeMemory == nil ? memory : scopeMemory?.most
        change = first(withinAncestors(limit, base), memory)
      }
      if let group = outer.group {
        // A member's supervisor has completed it.
        guard let state = directory.load() else {
          throw LaunchFailure("\(directory.path)/state cannot be read")
        }
        enter(group, state, &change)
      }
      if change != ConfigEdit() { try apply(change, edit, bundle) }
    } catch {
      // It must not find a container that it was not ready for.
      try? supervisor.process.send(SIGKILL)
      abandon(directory, error, &launched)
      throw error
    }
  }
}

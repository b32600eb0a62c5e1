// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Glibc
package import OCISpec
package import State
package import Syscalls

/// Starts our own long-lived processes: the same executable under another name.
///
/// The roles are told apart by argv[0], which no caller of a runtime sets to these names, so
/// that no verb or flag of runc's grammar is taken.
package enum Role: String, Sendable {
  /// One a supervised container.
  case supervisor = "escra-supervisor"
  /// One a host, from the first supervised container to the last.
  case keeper = "escra-keeper"
  /// Has the hooks in the scheduler ready for a supervisor, and ends when it has taken them.
  case hooks = "escra-hooks"
}

/// How a supervisor comes to life.
enum SupervisorStart: String {
  /// The shim starts it before the container exists; the shim waits for READY.
  case fresh
  /// As ``fresh``, and config.json is edited: the supervisor holds the bundle's lock and puts the
  /// original back.
  case freshWithEdit = "fresh-edit"
  /// The keeper starts it after another one has died.
  case resumed
  /// It has found its container and goes on as a fresh image: ``ReexecState``.
  case found
}

/// A supervisor that was started, and our end of the conversation with it.
package struct StartedSupervisor: ~Copyable {
  /// Where READY comes.
  package let socket: ControlSocket
  /// The process, to end it when READY does not come.
  package let process: ProcessHandle
}

/// Starts our own long-lived processes.
package enum Launcher {
  /// Starts the supervisor of a container that is about to be created.
  ///
  /// - Parameters:
  ///   - directory: The instance's directory, locked; the lock goes along.
  ///   - id: The container's id, for `ps`.
  ///   - edit: The right to edit the bundle, which is to be shared; ``BundleEdit/none`` where
  ///     nothing is edited.
  /// - Returns: The supervisor; not ready yet.
  /// - Throws: ``SystemError``.
  package static func startSupervisor(
    of directory: borrowing StateDirectory, id: String, sharing edit: borrowing BundleEdit
  ) throws(SystemError) -> StartedSupervisor {
    let runtime = try ProcessHandle(pid: getpid())
    let ends = try ControlSocket.pair()
    let socket = ControlSocket(owning: FileDescriptor(owning: ends.0))
    let theirs = FileDescriptor(owning: ends.1)
    var descriptors = [directory.descriptor.number, runtime.descriptor.number, theirs.number]
    let start: SupervisorStart = edit.lock.isOpen ? .freshWithEdit : .fresh
    if edit.lock.isOpen { descriptors += [edit.directory.number, edit.lock.number] }
    let pid = try spawn(.supervisor, [id, directory.path, start.rawValue], descriptors)
    return StartedSupervisor(socket: socket, process: try ProcessHandle(pid: pid))
  }

  /// Starts a supervisor for a container whose own has died; for the keeper.
  static func resumeSupervisor(
    of directory: borrowing StateDirectory, id: String
  ) throws(SystemError) {
    _ = try spawn(
      .supervisor, [id, directory.path, SupervisorStart.resumed.rawValue],
      [directory.descriptor.number])
  }

  /// How many open files a supervisor needs for a moment.
  ///
  /// As it becomes the image that supervises, some of those that it keeps are there twice: those that
  /// are in the place of another one, at most every other one at a time.
  ///
  /// - Parameter cpus: CPUs of the machine.
  /// - Returns: The number.
  package static func descriptors(cpus: Int) -> Int {
    3 * (ReexecState.Place.allCases.count + cpus) / 2 + 12
  }

  /// The word for a supervisor that wants to hear of memory, too.
  static let mindsMemory = "memory"

  /// Starts the process that has the hooks in the scheduler ready for a supervisor.
  ///
  /// - Returns: Where it says what they are; it lets go of them when this is closed.
  static func startHookLoader(
    _ root: StateRoot, for owner: ProcessIdentity, mindsMemory: Bool
  ) throws(SystemError) -> FileDescriptor {
    let ends = try ControlSocket.pair()
    let ours = FileDescriptor(owning: ends.0)
    let theirs = FileDescriptor(owning: ends.1)
    let words = [root.path, owner.description] + (mindsMemory ? [Self.mindsMemory] : [])
    _ = try spawn(.hooks, words, [theirs.number])
    return ours
  }

  /// Makes sure that a keeper lives and has seen all containers there are.
  ///
  /// - Parameter root: Whose keeper.
  /// - Returns: Whether one has answered.
  @discardableResult
  package static func callKeeper(_ root: StateRoot) -> Bool { callKeeper(root, of: -1) }

  /// Makes sure that a keeper lives and has seen one container.
  ///
  /// - Parameters:
  ///   - root: Whose keeper.
  ///   - state: The container.
  ///   - nonce: Of its instance.
  package static func callKeeper(
    _ root: StateRoot, about state: ContainerState, _ nonce: UInt64
  ) {
    let directory = root.directory(root: state.root, id: state.id)
    let key = directory.utf8.dropFirst(root.containers.utf8.count + 1)
    _ = callKeeper(
      root, of: -1, about: String(Substring(key)) + "/" + ApplicationDirectory.name(of: nonce))
  }

  /// Makes sure that a keeper lives and has seen all containers there are.
  ///
  /// - Parameters:
  ///   - root: Whose keeper.
  ///   - program: The runtime, open, for a caller that is another program; -1 for this one.
  ///   - instance: The one instance that the call is about, by the last two parts of its path; nil
  ///     for all.
  /// - Returns: Whether one has answered.
  package static func callKeeper(
    _ root: StateRoot, of program: Int32, about instance: String? = nil
  ) -> Bool {
    for attempt in 0..<3 {
      // A keeper of an older version knows the general question only.
      let question = attempt < 2 ? instance.map { ControlMessage.lookAt($0) } : nil
      if let directory = FileDescriptor.openIfPossible(root.keeper, O_RDONLY | O_DIRECTORY),
        let socket = ControlSocket.ifListening(Keeper.socketName, in: directory),
        socket.send(question ?? .look), socket.receive(within: 200) == .message(.looked)
      {
        return true
      }
      if attempt < 2 {
        // Of two that start at once, the second finds the lock taken and ends.
        _ = try? spawn(.keeper, [root.path], [], of: program)
        usleep(5000 << UInt32(attempt))
      }
    }
    return false
  }

  /// Connects to the keeper, which looks again when the connection closes.
  ///
  /// - Returns: The descriptor, to be closed; nil where no keeper lives.
  static func connectKeeper(_ root: StateRoot) -> Int32? {
    guard let directory = FileDescriptor.openIfPossible(root.keeper, O_RDONLY | O_DIRECTORY) else {
      return nil
    }
    return ControlSocket.ifListening(Keeper.socketName, in: directory)?.release()
  }

  /// Starts a keeper where none lives, and does not wait for it.
  ///
  /// - Parameter root: Whose keeper.
  /// - Returns: Whether one was started.
  @discardableResult
  package static func startKeeperIfNone(_ root: StateRoot) -> Bool {
    // Not started, it is by the next call, and the caller is told so.
    !StateDirectory.isLocked(root.keeper) && (try? spawn(.keeper, [root.path], [])) != nil
  }

  /// Becomes another image of this program: same process, same descriptors where they are named.
  ///
  /// - Throws: ``SystemError``, with descriptors in disorder; it returns in no other way.
  static func become(
    _ role: Role, _ arguments: [String], _ descriptors: [Int32],
    _ executable: borrowing FileDescriptor
  ) throws(SystemError) {
    _ = withRequest(role, arguments, descriptors, executable.number) { escra_reexec(&$0) }
    throw SystemError.last("become", role.rawValue)
  }

  /// This program, whatever has been put in the place of its file since.
  static func executable() throws(SystemError) -> FileDescriptor {
    try FileDescriptor.open("/proc/self/exe", O_RDONLY)
  }

  private static func spawn(
    _ role: Role, _ arguments: [String], _ descriptors: [Int32], of program: Int32 = -1
  ) throws(SystemError) -> Int32 {
    let executable = try executable()
    let number = program < 0 ? executable.number : program
    return try retrying("start", role.rawValue) {
      withRequest(role, arguments, descriptors, number) { escra_spawn_detached(&$0) }
    }
  }

  private static func withRequest(
    _ role: Role, _ arguments: [String], _ descriptors: [Int32],
    _ executable: Int32, _ body: (inout escra_spawn) -> Int32
  ) -> Int32 {
    var argv = ([role.rawValue] + arguments).map { strdup($0) }
    argv.append(nil)
    defer { for argument in argv { free(argument) } }
    // Not the caller's environment: nothing here reads one.
    var environment: [UnsafeMutablePointer<CChar>?] = [nil]
    return argv.withUnsafeMutableBufferPointer { argv in
      environment.withUnsafeMutableBufferPointer { environment in
        descriptors.withUnsafeBufferPointer { descriptors in
          guard let arguments = argv.baseAddress, let variables = environment.baseAddress else {
            return -1
          }
          var request = escra_spawn(
            executable: executable, argv: arguments, envp: variables,
            descriptors: descriptors.baseAddress, descriptor_count: CInt(descriptors.count))
          return body(&request)
        }
      }
    }
  }
}

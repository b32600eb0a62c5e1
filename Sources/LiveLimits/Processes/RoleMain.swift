// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Cgroups
internal import Glibc
internal import State
internal import Syscalls

extension Role {
  /// Runs one of our long-lived processes to its end.
  ///
  /// - Parameter arguments: What the launcher passed behind argv[0].
  /// - Returns: The exit code.
  package func run(_ arguments: [String]) -> Int32 {
    escra_set_name(self == .supervisor ? "escra-super" : rawValue)
    let start = arguments.count > 2 ? SupervisorStart(rawValue: arguments[2]) : nil
    // An image that follows another of the same process has these manners already.
    if start != .found {
      escra_clear_parent_death_signal()
      ProcessSetup.setOOMScore()
      signal(SIGHUP, SIG_IGN)
      signal(SIGPIPE, SIG_IGN)
      ProcessSetup.allowDescriptors()
    }
    do throws(SystemError) {
      switch self {
      case .keeper: try Self.keep(StateRoot(path: arguments.first ?? StateRoot.system.path))
      case .supervisor: try Self.supervise(arguments, start)
      case .hooks: try Self.serveHooks(arguments)
      }
      return 0
    } catch {
      escra_syslog(true, "escra: \(rawValue) \(arguments.first ?? ""): \(error.description)")
      return 1
    }
  }

  private static func keep(_ root: StateRoot) throws(SystemError) {
    ProcessSetup.moveToRootCgroups()
    guard let keeper = try Keeper(root) else { return }
    try Confinement.confineKeeper()
    try keeper.run()
  }

  private static func serveHooks(_ arguments: [String]) throws(SystemError) {
    guard arguments.count >= 2, let owner = ProcessIdentity(arguments[1]) else {
      throw SystemError("understand", "my arguments", errno: EINVAL)
    }
    let mindsMemory = arguments.dropFirst(2).first == Launcher.mindsMemory
    HookLoader.serve(
      StateRoot(path: arguments[0]), owner,
      mindsMemory: mindsMemory && CgroupMount.hasUnifiedMemory,
      answering: FileDescriptor(owning: answerDescriptor))
  }

  // Descriptors, as the launcher arranges them.
  private static let answerDescriptor: Int32 = 3
}

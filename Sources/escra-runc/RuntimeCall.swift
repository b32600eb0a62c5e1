// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Glibc
internal import State
internal import Syscalls

/// One call of this program on its way to the low-level runtime: what was asked for, and the
/// arguments that will be passed on.
struct RuntimeCall {
  /// The caller's umask, which comes back with the low-level runtime.
  ///
  /// Until then this program has one of its own: what it makes is for root alone, and supervisors,
  /// which are root without a capability, can use it.
  static let callersMask = umask(0o077)

  /// The call as runc reads it.
  let invocation: Invocation
  /// The path of the low-level runtime.
  let runtime: String
  /// Where the state of containers is.
  let stateRoot: StateRoot
  /// The arguments to pass on, without our own flags.
  var vector: ArgumentVector

  /// Becomes the low-level runtime: same process, same pid, same everything.
  func pass() -> Never {
    umask(Self.callersMask)
    let _: Never? = vector.withPointers { arguments in
      execve(runtime, arguments, environ)
      return nil
    }
    fail("cannot execute \(runtime) (\(SystemError.last("execute", runtime).symbol))")
  }

  /// Runs the low-level runtime and waits for it, its stdout being ours.
  ///
  /// - Returns: Its exit code, or 128 and the signal that ended it.
  func run() -> CInt { wait(for: start(output: -1)) }

  /// Runs the low-level runtime and waits for it, its stdout being taken.
  ///
  /// - Returns: All it wrote, and its exit code.
  func runTakingOutput() -> (output: [UInt8], code: CInt) {
    do throws(SystemError) {
      var ends: [CInt] = [-1, -1]
      try retrying("make", "a pipe") { pipe(&ends) }
      for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
      let reading = FileDescriptor(owning: ends[0])
      let pid: pid_t
      do {
        // Closed here before reading, or the end would never come.
        let writing = FileDescriptor(owning: ends[1])
        pid = start(output: writing.number)
      }
      let output = try reading.readAll()
      return (output, wait(for: pid))
    } catch {
      fail(error.description)
    }
  }

  private func start(output: CInt) -> pid_t {
    umask(Self.callersMask)
    defer { umask(0o077) }
    let pid = vector.withPointers { escra_fork_exec(runtime, $0, environ, output) } ?? -1
    if pid < 0 { fail(SystemError.last("start", runtime).description) }
    return pid
  }

  private func wait(for pid: pid_t) -> CInt {
    var status: CInt = 0
    do throws(SystemError) {
      try retrying("wait for", runtime) { waitpid(pid, &status, 0) }
    } catch {
      fail(error.description)
    }
    return escra_exit_code(status)
  }

  /// Ends the call with an error of ours.
  func fail(_ sentence: String) -> Never {
    escra_runc.fail(sentence, log: invocation.log.map(vector.bytes))
  }
}

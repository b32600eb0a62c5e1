// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Glibc
internal import OCISpec

/// The whole program: reads the call, adds what is ours to add, and becomes the low-level runtime.
func runShim(_ arguments: [String]) -> Never {
  _ = RuntimeCall.callersMask
  let invocation = Invocation(arguments)
  var vector = ArgumentVector(count: arguments.count, escra_arguments())
  let log = invocation.log.map(vector.bytes)
  if let flag = invocation.ownFlagWithoutValue {
    fail("--\(flag) needs a value: write it as --\(flag)=VALUE, before the verb", log: log)
  }

  let settings = Settings(invocation)
  let runtime: String
  do throws(NoRuntime) {
    runtime = try LowLevelRuntime.find(
      configured: settings.runtimes, builtIn: OperatorConfig.builtInRuntimes,
      searchPath: getenv("PATH").map { String(cString: $0) }, probe: RuntimeProbe().candidate)
  } catch {
    fail(error.description, log: log)
  }
  vector.remove(invocation.ownArguments)
  vector.replace(0, with: runtime)
  let call = RuntimeCall(
    invocation: invocation, runtime: runtime, stateRoot: settings.stateRoot, vector: vector)

  if invocation.wantsVersion { printVersion(call) }
  if invocation.wantsHelp { call.pass() }
  switch invocation.verb {
  case .create, .run, .restore: supervisedStart(call, settings)
  case .update:
    call.touch()
    update(call, settings)
  case .features: printFeatures(call)
  case .checkpoint, .delete, .events, .exec, .kill, .pause, .ps, .resume, .start, .state:
    call.touch()
    call.pass()
  case .help, .list, .spec, nil:
    call.pass()
  }
}

/// The strings of a NULL-terminated vector; bytes that are no UTF-8 become U+FFFD.
func strings(_ vector: UnsafePointer<UnsafeMutablePointer<CChar>?>) -> [String] {
  var strings: [String] = []
  while let string = vector[strings.count] { strings.append(String(cString: string)) }
  return strings
}

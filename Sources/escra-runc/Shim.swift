// SPDX-License-Identifier: Apache-2.0
internal import Glibc

/// The whole program: reads the call, adds what is ours to add, and becomes the low-level runtime.
func runShim() -> Never {
  let invocation = Invocation(CommandLine.arguments)
  var vector = ArgumentVector(count: Int(CommandLine.argc), CommandLine.unsafeArgv)
  let log = invocation.log.map(vector.bytes)
  if let flag = invocation.ownFlagWithoutValue {
    fail("--\(flag) needs a value: write it as --\(flag)=VALUE, before the verb", log: log)
  }

  let runtime: String
  do throws(NoRuntime) {
    runtime = try LowLevelRuntime.find(
      configured: [], builtIn: LowLevelRuntime.builtInPaths,
      searchPath: getenv("PATH").map { String(cString: $0) }, probe: RuntimeProbe().candidate)
  } catch {
    fail(error.description, log: log)
  }
  vector.remove(invocation.ownArguments)
  vector.replace(0, with: runtime)
  let call = RuntimeCall(invocation: invocation, runtime: runtime, vector: vector)

  if invocation.wantsVersion { printVersion(call) }
  if invocation.wantsHelp { call.pass() }
  switch invocation.verb {
  case .create, .run, .restore: supervisedStart(call)
  case .update: update(call)
  case .features: printFeatures(call)
  case .checkpoint, .delete, .events, .exec, .help, .kill, .list, .pause, .ps, .resume, .spec,
    .start, .state, nil:
    call.pass()
  }
}

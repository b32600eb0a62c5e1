// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import Syscalls

/// `--version`: what the low-level runtime says, then one line of ours.
///
/// Behind it, not before it: containerd takes the first line for runc's version, and Docker looks
/// for runc's commit and spec lines.
func printVersion(_ call: RuntimeCall) -> Never {
  let code = call.run()
  if code == 0 {
    var line = "escra-runc version \(EscraVersion.current)\n"
    _ = line.withUTF8 { write(STDOUT_FILENO, $0.baseAddress, $0.count) }
  }
  exit(code)
}

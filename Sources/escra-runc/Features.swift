// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import OCISpec
internal import Syscalls

/// `features`: the low-level runtime's JSON, with our version and our annotations added.
///
/// Docker asks at start and parses what comes. Whatever cannot be added to, because the runtime
/// failed or wrote no JSON object, is passed on as it came.
func printFeatures(_ call: RuntimeCall) -> Never {
  let (output, code) = call.runTakingOutput()
  do throws(SystemError) {
    let standardOutput = FileDescriptor(owning: STDOUT_FILENO)
    try standardOutput.write(code == 0 ? featuresWithOurs(output) : output)
  } catch {
    call.fail(error.description)
  }
  exit(code)
}

/// Adds to a features document what this program adds to the runtime: the annotation
/// `io.escra.version`, and `io.escra.` as a prefix of annotations that change what a container may
/// do.
///
/// - Returns: The document unchanged where it is no JSON object.
func featuresWithOurs(_ document: [UInt8]) -> [UInt8] {
  FeaturesDocument(document)?.adding(
    annotation: ("io.escra.version", EscraVersion.current), prefix: Annotations.prefix) ?? document
}

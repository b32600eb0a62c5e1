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

/// Adds to a features document (runtime-spec, features.md) what this program adds to the runtime:
/// the annotation `io.escra.version` and `io.escra.` as a prefix of annotations that change what a
/// container may do: in a document of runtime-spec 1.2 or later, which has that member, and in one
/// that has it before its time, as crun's.
///
/// - Returns: The document unchanged where it is no JSON object.
func featuresWithOurs(_ document: [UInt8]) -> [UInt8] {
  guard let root = wholeObject(document) else { return document }
  var result = adding(
    #""io.escra.version": "\#(EscraVersion.current)""#, to: "annotations", isObject: true, document)
  let unsafe = "potentiallyUnsafeConfigAnnotations"
  let isOf1_2 = root.value(of: "ociVersionMax", in: document).map { isAtLeast1_2(document[$0]) }
  if isOf1_2 == true || root.value(of: unsafe, in: document) != nil {
    result = adding(#""io.escra.""#, to: unsafe, isObject: false, result)
  }
  return result
}

/// Adds an element to a member of the document, which is made where it is missing or null.
private func adding(
  _ element: String, to name: String, isObject: Bool, _ document: [UInt8]
) -> [UInt8] {
  guard let root = wholeObject(document) else { return document }
  let fresh = isObject ? "{\(element)}" : "[\(element)]"
  guard let value = root.value(of: name, in: document) else {
    return root.appending("\"\(name)\": \(fresh)", to: document)
  }
  if document[value].elementsEqual("null".utf8) {
    return document[..<value.lowerBound] + Array(fresh.utf8) + document[value.upperBound...]
  }
  guard let container = JSONElements(document, in: value), container.isObject == isObject else {
    return document
  }
  return container.appending(element, to: document)
}

private func wholeObject(_ document: [UInt8]) -> JSONElements? {
  guard let root = JSONElements(document, in: 0..<document.count), root.isObject,
    document[(root.close + 1)...].allSatisfy({ [0x20, 0x09, 0x0A, 0x0D].contains($0) })
  else { return nil }
  return root
}

/// Whether a quoted version, "1.2.0" or "1.0.2-dev", is 1.2 or later.
private func isAtLeast1_2(_ quoted: ArraySlice<UInt8>) -> Bool {
  let parts = quoted.dropFirst().dropLast()
    .split { $0 == UInt8(ascii: ".") || $0 == UInt8(ascii: "-") }
  guard parts.count > 1, let major = Int(String(decoding: parts[0], as: UTF8.self)),
    let minor = Int(String(decoding: parts[1], as: UTF8.self))
  else { return false }
  return (major, minor) >= (1, 2)
}

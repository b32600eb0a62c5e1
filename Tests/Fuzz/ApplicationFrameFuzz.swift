// SPDX-License-Identifier: Apache-2.0
@testable import Application

/// What libFuzzer calls with any bytes: decoding is total, and what was read reads back.
///
/// Compiled by scripts/fuzz into one module with the decoder, which needs nothing else.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzApplicationFrame(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let input = UnsafeRawBufferPointer(start: start, count: count)
  guard let message = try? ApplicationMessage(decoding: input) else { return 0 }
  withUnsafeTemporaryAllocation(byteCount: ApplicationMessage.size, alignment: 8) { buffer in
    message.encode(into: buffer)
    guard let again = try? ApplicationMessage(decoding: UnsafeRawBufferPointer(buffer)),
      again == message
    else { fatalError("not itself: \(message)") }
    // All but the version of a newer sender is as it was.
    for index in 0..<ApplicationMessage.size where index != 4 && index != 5 {
      if buffer[index] != input[index] { fatalError("byte \(index) of \(message)") }
    }
  }
  return 0
}

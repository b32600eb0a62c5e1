// SPDX-License-Identifier: Apache-2.0
import Glibc
import Testing

@testable import escra_runc

/// Calls `body` with an argv of its own.
private func withVector(_ arguments: [[UInt8]], _ body: (inout ArgumentVector) -> Void) {
  var pointers: [UnsafeMutablePointer<CChar>?] = arguments.map { bytes in
    (bytes + [0]).map { CChar(bitPattern: $0) }.withUnsafeBufferPointer { buffer in
      buffer.baseAddress.flatMap { strdup($0) }
    }
  }
  defer { pointers.forEach { free($0) } }
  pointers.append(nil)
  var vector = ArgumentVector(count: arguments.count, pointers)
  body(&vector)
}

private func bytes(_ words: String...) -> [[UInt8]] { words.map { Array($0.utf8) } }

extension ArgumentVector {
  /// What execve would get.
  fileprivate var result: [[UInt8]] {
    withPointers { pointers in
      var all: [[UInt8]] = []
      var index = 0
      while let pointer = pointers[index] {
        all.append(Array(UnsafeRawBufferPointer(start: pointer, count: strlen(pointer))))
        index += 1
      }
      return all
    } ?? []
  }
}

@Suite struct ArgumentVectorTests {
  @Test func `unedited arguments are passed on byte for byte`() {
    let odd: [[UInt8]] = [Array("runc".utf8), [0xFF, 0xFE, 0x20], [], Array("ü".utf8)]
    withVector(odd) { vector in #expect(vector.result == odd) }
  }

  @Test func `positions stay those of the caller, whatever was edited before`() {
    withVector(bytes("escra", "--own", "x", "create", "--bundle", "b", "id")) { vector in
      vector.insert(["--pid-file", "p"], after: 3)
      vector.remove([1, 2])
      vector.replace(5, with: "c")
      vector.replace(0, with: "/usr/bin/runc")
      vector.insert(["--more"], after: 3)
      #expect(
        vector.result
          == bytes(
            "/usr/bin/runc", "create", "--pid-file", "p", "--more", "--bundle", "c", "id"))
    }
  }

  @Test func `a value is opened by the caller's own bytes`() {
    let path: [UInt8] = [0x2F, 0xFF, 0xC3]
    withVector([Array("runc".utf8), Array("--root=".utf8) + path, Array("state".utf8)]) { vector in
      let arguments = vector.result.map { String(decoding: $0, as: UTF8.self) }
      let root = Invocation(arguments).root
      #expect(root?.text == "/\u{FFFD}\u{FFFD}")
      let pointer = root.map(vector.bytes(of:))
      #expect(pointer.map { Array(UnsafeRawBufferPointer(start: $0, count: strlen($0))) } == path)
    }
  }
}

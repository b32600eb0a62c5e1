// SPDX-License-Identifier: Apache-2.0
internal import Glibc

/// The argv that the low-level runtime gets: the caller's, byte for byte, but for what is edited.
///
/// Positions are always those of the caller's argv, as ``Invocation`` gives them, in whatever
/// order edits are made. Strings made here are never freed: execve ends this program's memory.
struct ArgumentVector {
  /// For each argument of the caller what stands in its place: itself, nothing, or more.
  private var slots: [[UnsafeMutablePointer<CChar>]]
  private let original: [UnsafeMutablePointer<CChar>]

  /// Takes argv as the kernel gave it.
  init(count: Int, _ argv: UnsafePointer<UnsafeMutablePointer<CChar>?>) {
    original = (0..<count).compactMap { argv[$0] }
    slots = original.map { [$0] }
  }

  /// The caller's own bytes of a value, NUL-terminated: what to open.
  func bytes(of value: FlagValue) -> UnsafePointer<CChar> {
    UnsafePointer(original[value.index] + value.offset)
  }

  /// Leaves arguments out.
  mutating func remove(_ indices: [Int]) {
    for index in indices { slots[index] = [] }
  }

  /// Puts another argument in the place of one.
  mutating func replace(_ index: Int, with text: String) {
    slots[index] = Self.copies([text])
  }

  /// Puts arguments behind one; several calls for the same place keep their order.
  mutating func insert(_ texts: [String], after index: Int) {
    slots[index] += Self.copies(texts)
  }

  /// Calls `body` with the edited, NULL-terminated argv.
  func withPointers<Result>(
    _ body: (UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> Result?
  ) -> Result? {
    var pointers = slots.flatMap(\.self).map(Optional.some)
    pointers.append(nil)
    return pointers.withUnsafeMutableBufferPointer { $0.baseAddress.flatMap(body) }
  }

  private static func copies(_ texts: [String]) -> [UnsafeMutablePointer<CChar>] {
    texts.compactMap { strdup($0) }
  }
}

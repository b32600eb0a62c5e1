// SPDX-License-Identifier: Apache-2.0

/// The sentence of the error that `body` throws.
package func sentence(_ body: () throws -> Void) -> String {
  do {
    try body()
    return "nothing was wrong"
  } catch {
    return "\(error)"
  }
}

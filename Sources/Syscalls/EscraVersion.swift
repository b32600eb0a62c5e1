// SPDX-License-Identifier: Apache-2.0

/// The version of everything in this package, as Semantic Versioning has it.
package enum EscraVersion {
  /// "MAJOR.MINOR.PATCH".
  package static let current = "0.1.0"
}

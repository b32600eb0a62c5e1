// SPDX-License-Identifier: Apache-2.0

/// The version of everything in this package, as Semantic Versioning has it.
public enum EscraVersion {
  /// "MAJOR.MINOR.PATCH".
  public static let current = "0.1.0"
}

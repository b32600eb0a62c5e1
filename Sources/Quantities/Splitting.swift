// SPDX-License-Identifier: Apache-2.0

extension StringProtocol where SubSequence == Substring {
  /// Splits wherever the separator is, also where Swift takes it as one Character with what is
  /// beside it: a carriage return before a newline, a combining mark behind a slash.
  ///
  /// Inlinable: another target looks up a generic at run time, and that stays in the memory of every
  /// supervisor.
  @inlinable
  package func split(at separator: Unicode.Scalar, omittingEmptySubsequences: Bool = true)
    -> [Substring]
  {
    self[...].unicodeScalars.split(
      separator: separator, omittingEmptySubsequences: omittingEmptySubsequences
    ).map { Substring($0) }
  }
}

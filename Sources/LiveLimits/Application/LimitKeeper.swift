// SPDX-License-Identifier: Apache-2.0
internal import Application

/// What writes the limits of the container whose supervisor takes part in an application.
protocol LimitKeeper: AnyObject {
  /// Makes this the kernel's limit.
  ///
  /// - Returns: The most that the kernel's limit is from now on, which is the amount unless the
  ///   kernel would not have it; and what was used in the period that is on, as a limit.
  func keep(_ amount: Int64, of resource: SharedResource) -> (held: Int64, spent: Int64)
}

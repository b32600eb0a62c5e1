// SPDX-License-Identifier: Apache-2.0

/// Which interface limits are written through.
package enum CgroupVersion: String, Sendable {
  /// One hierarchy a controller (or a few); the cpu controller is on one of them.
  case v1
  /// The unified hierarchy has the cpu controller.
  case v2
}

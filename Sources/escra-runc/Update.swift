// SPDX-License-Identifier: Apache-2.0

/// `update`: somebody changes a container's limits.
func update(_ call: RuntimeCall) -> Never {
  call.pass()
}

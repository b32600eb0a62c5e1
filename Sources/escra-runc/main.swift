// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import LiveLimits

if let name = CommandLine.arguments.first, let role = Role(rawValue: name) {
  exit(role.run(Array(CommandLine.arguments.dropFirst())))
}
runShim()

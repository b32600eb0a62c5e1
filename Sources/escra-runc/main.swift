// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import LiveLimits

if let role = CommandLine.arguments.first.flatMap({ Role(rawValue: $0) }) {
  exit(role.run(Array(CommandLine.arguments.dropFirst())))
}
runShim()

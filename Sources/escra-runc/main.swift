// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Glibc
internal import LiveLimits

let arguments = strings(escra_arguments())
if let name = arguments.first, let role = Role(rawValue: name) {
  exit(role.run(Array(arguments.dropFirst())))
}
runShim(arguments)

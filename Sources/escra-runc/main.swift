// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Glibc
internal import LiveLimits

let arguments = (0..<Int(escra_argument_count)).map { index in
  escra_arguments[index].map { String(cString: $0) } ?? ""
}
if let name = arguments.first, let role = Role(rawValue: name) {
  exit(role.run(Array(arguments.dropFirst())))
}
runShim(arguments)

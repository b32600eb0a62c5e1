// SPDX-License-Identifier: Apache-2.0
import Glibc
import Syscalls

exit(Command.run(Array(CommandLine.arguments.dropFirst())))

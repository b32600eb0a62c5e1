// SPDX-License-Identifier: Apache-2.0
import Glibc

exit(Command.run(Array(CommandLine.arguments.dropFirst())))

// SPDX-License-Identifier: Apache-2.0
import Glibc
import Quantities

exit(NodesCommand.run(Array(CommandLine.arguments.dropFirst())))

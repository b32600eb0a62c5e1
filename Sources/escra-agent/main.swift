// SPDX-License-Identifier: Apache-2.0
internal import Glibc

exit(runAgent(Array(CommandLine.arguments.dropFirst())))

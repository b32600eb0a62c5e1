// SPDX-License-Identifier: Apache-2.0

/// Runs the agent until a signal asks for its end.
///
/// - Parameter arguments: Without the program's name.
/// - Returns: The exit code.
func runAgent(_ arguments: [String]) -> Int32 { 0 }

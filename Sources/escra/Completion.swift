// SPDX-License-Identifier: Apache-2.0
internal import ArgumentParser
internal import State

/// What a shell may complete an argument to.
enum Completion {
  /// The names of the applications.
  static var applications: CompletionKind {
    .custom { _, _, _ in unique(states().compactMap { $0.app }) }
  }

  private static func states() -> [ContainerState] {
    StateRoot.configured.instances().compactMap { StateDirectory.load(at: $0) }
  }

  private static func unique(_ words: [String]) -> [String] { Set(words).sorted() }
}

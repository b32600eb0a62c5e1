// SPDX-License-Identifier: Apache-2.0
internal import ArgumentParser

/// `escra ps`.
struct ListCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ps", abstract: "List the supervised containers, their limits and their use.",
    discussion: """
      CPU is in cores, memory in bytes with Kubernetes' suffixes. The limit is what the kernel \
      holds; under observe, what it would be follows in parentheses. Use is measured over 100 ms.
      """)

  @OptionGroup var common: CommonOptions

  @Flag(help: "Print a JSON array; a limit that is not there is null.")
  var json = false

  func run() throws {
    let reports = try Observer(common.stateRoot).lookTwice().map(\.report)
    if json {
      Output.write(lines: [JSON.array(reports.map(\.json)).text])
    } else {
      Output.write(lines: Table.list(of: reports).lines)
    }
  }
}

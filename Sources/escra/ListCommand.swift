// SPDX-License-Identifier: Apache-2.0
internal import ArgumentParser

/// `escra ps`.
struct ListCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ps", abstract: "List the supervised containers, their limits and their use.",
    discussion: """
      CPU is in cores, memory in bytes with Kubernetes' suffixes. The limit is what the kernel \
      holds; under observe, what it would be follows in parentheses. Use is measured over 100 ms. \
      A terminal that is too narrow for all columns gets the most important ones.
      """)

  @OptionGroup var common: CommonOptions

  @Flag(help: "Print a JSON array; a limit that is not there is null.")
  var json = false

  @Flag(help: "Print all columns, however narrow the terminal is.")
  var wide = false

  func run() throws {
    let observer = Observer(try common.stateRoot)
    let reports = observer.lookTwice().map(\.report)
    if json {
      try Output.write(lines: [JSON.array(reports.map(\.json)).text])
    } else {
      // A figure that contradicts the one beside it is explained.
      var lines =
        Output.isTerminal && !wide
        ? Table.list(of: reports, columns: Output.size.columns) : Table.list(of: reports).lines
      if reports.contains(where: \.usesMoreThanItsLimit) {
        lines += [useNote(observer.span) + " The limit may have just been lowered."]
      }
      try Output.write(lines: lines)
    }
  }
}

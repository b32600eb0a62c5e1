// SPDX-License-Identifier: Apache-2.0
import CEntry
import OCISpec
import State
import Testing

/// What Sources/CEntry knows of the rest of the program is what the rest says.
@Suite struct EarlyEntryTests {
  private func strings(_ list: UnsafePointer<UnsafePointer<CChar>?>) -> [String] {
    var found: [String] = []
    while let text = list[found.count] { found.append(String(cString: text)) }
    return found
  }

  @Test func `the runtimes are the first of the built-in ones`() {
    let found = strings(escra_entry_runtime_list())
    #expect(found.count == 6 && OperatorConfig.builtInRuntimes.starts(with: found))
  }

  @Test func `the config and the state are where they are`() {
    #expect(String(cString: escra_entry_config_path()) == OperatorConfig.defaultPath)
    let root = StateRoot.system
    #expect(strings(escra_entry_state_list()) == [root.containers, root.path + "/groups"])
  }
}

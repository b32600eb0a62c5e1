// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import Nodes

struct ClusterLedgerTests {
  private func shop() -> ClusterLedger {
    ClusterLedger(id: "a1", explicit: 1000).next {
      $0.join("one", declared: 200)
      $0.take(700, for: "one")
      $0.keep(minimum: 200, for: "one")
      $0.want(900, for: "one")
      $0.join("two", declared: 300)
      $0.mark("one", by: "two")
    }
  }

  @Test func `nothing is kept for a node that was silent`() {
    let ledger = shop().next { $0.takeFromSilent("one") }
    #expect(ledger.nodes["one"]?.held == 200 && ledger.nodes["one"]?.want == 200)
    #expect(ledger.nodes["one"]?.mark == nil && ledger.free == 800)
  }

  @Test func `is the same after writing and reading`() throws {
    #expect(try ClusterLedger(json: shop().json) == shop())
    let empty = ClusterLedger(id: "b", explicit: nil)
    #expect(try ClusterLedger(json: empty.json) == empty)
  }

  @Test func `reads what an API server has formatted`() throws {
    let text = """
      { "nodes": {}, "limit": 5, "apiVersion": "x\\u0041", "list": [1.5, {"a": null}, true],
        "generation": 3, "id": "q", "free": 5, "explicit": 5, "format": 1 }
      """
    #expect(try ClusterLedger(json: Array(text.utf8)).free == 5)
  }

  @Test(arguments: [
    "", "{", "[]", "{\"format\":1}", "{\"format\":2}", "nul", "{\"a\":1,\"a\":1}", "{\"a\":\"\\",
    "{\"format\":1,\"id\":\"a\",\"generation\":0,\"limit\":1,\"free\":2,\"nodes\":{}}",
    "{\"format\":1,\"id\":\"a/b\",\"generation\":0,\"limit\":1,\"free\":1,\"nodes\":{}}",
    "{\"format\":1,\"id\":\"a\",\"generation\":0,\"limit\":1.0,\"free\":1,\"nodes\":{}}",
    "{\"format\":1,\"id\":\"a\",\"generation\":0,\"limit\":1,\"free\":-1,\"nodes\":{}}",
    "{\"format\":1,\"id\":\"a\",\"generation\":0,\"limit\":99999999999999999999,\"free\":1,\"nodes\":{}}",
    "{\"x\":[[[[[[[[[[[[1]]]]]]]]]]]]}",
  ])
  func `refuses what is no ledger`(text: String) {
    #expect(throws: LedgerError.self) { try ClusterLedger(json: Array(text.utf8)) }
  }

  @Test func `reads any change of a byte, or refuses it`() {
    let bytes = shop().json
    for index in bytes.indices {
      for byte: UInt8 in [0, 0x22, 0x2C, 0x30, 0x39, 0x5C, 0x7B, 0x7D, 0xFF] {
        var changed = bytes
        changed[index] = byte
        if let ledger = try? ClusterLedger(json: changed) { #expect(ledger.isValid) }
      }
      #expect(throws: LedgerError.self) { try ClusterLedger(json: Array(bytes[..<index])) }
    }
  }

  @Test func `conserves the limit whatever nodes do`() {
    var random = SystemRandomNumberGenerator()
    for _ in 0..<200 {
      var ledger = ClusterLedger(id: "a", explicit: Bool.random() ? 1000 : nil)
      for _ in 0..<100 {
        let name = "n\(Int.random(in: 0..<5, using: &random))"
        let other = "n\(Int.random(in: 0..<5, using: &random))"
        let amount = Int64.random(in: -50...1200, using: &random)
        let generation = ledger.generation
        ledger = ledger.next {
          switch Int.random(in: 0..<10, using: &random) {
          case 0: $0.join(name, declared: max(0, amount))
          case 1: $0.leave(name)
          case 2: $0.take(amount, for: name)
          case 3: $0.give(amount, of: name)
          case 4: $0.keep(minimum: amount, for: name)
          case 5: $0.mark(name, by: other)
          case 6: $0.takeFromSilent(name)
          case 7: $0.declare(max(0, amount), for: name)
          case 8: $0.ask(limit: amount < 0 ? nil : amount)
          default: $0.want(max(0, amount), for: name)
          }
        }
        #expect(ledger.isValid)
        #expect(ledger.generation == generation + 1)
        #expect(ledger.limit >= ledger.goal)
      }
    }
  }

  @Test func `lowers the limit as far as nodes release`() {
    let ledger = shop().next { $0.ask(limit: 400) }
    #expect((ledger.limit, ledger.free, ledger.goal) == (700, 0, 400))
    let later = ledger.next { $0.give(400, of: "one") }
    #expect((later.limit, later.free) == (400, 100))
  }
}

// SPDX-License-Identifier: Apache-2.0
package import Syscalls

/// The share that a node has of an application's limit: a pure state machine.
///
/// All times are CLOCK_BOOTTIME of this node, in nanoseconds; no clock of another node is known.
/// One request to the engine is open at a time. The time of a request is that of the event which
/// it is an effect of, so it is sent afterwards.
package struct NodeShare: Sendable {
  package let name: String
  package let resource: SharedResource
  let parameters: NodeParameters

  /// When ``NodeEvent/tick`` is due; nil at rest.
  package var deadline: Nanoseconds? { nil }

  /// The newest ledger that was seen: the agent keeps it where the next one finds it.
  package private(set) var seen: (id: String, generation: Int64)?

  /// Makes the share of a node that knows nothing of the ledger yet.
  ///
  /// - Parameters:
  ///   - name: The node's, unique in the cluster.
  ///   - resource: Of what.
  ///   - newID: At random, for the ledger if there is none.
  ///   - seen: The newest ledger that an agent of this node has seen before.
  ///   - parameters: The constants.
  package init(
    name: String, resource: SharedResource, newID: String,
    seen: (id: String, generation: Int64)? = nil, parameters: NodeParameters = NodeParameters()
  ) {
    self.name = name
    self.resource = resource
    self.seen = seen
    self.parameters = parameters
  }

  /// Takes an event.
  package mutating func handle(
    _ event: NodeEvent, at now: Nanoseconds, _ effects: inout [NodeEffect]
  ) {}
}

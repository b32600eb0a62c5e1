// SPDX-License-Identifier: Apache-2.0
package import Quantities

/// One of the control laws, with the part of the container's past that it remembers.
package enum ControlLaw: Sendable {
  /// The rules of the Escra authors' controller.
  case escra(EscraLaw)
  /// Ours: the recent peak plus a margin.
  case headroom(HeadroomLaw)

  /// Which law, and its constants.
  package enum Parameters: Equatable, Sendable {
    /// `escra`.
    case escra(EscraLaw.Parameters)
    /// `headroom`.
    case headroom(HeadroomLaw.Parameters)

    /// The law of a name in the operator's config; `escra` for a name that is not known, as
    /// another version may have left it in a state file.
    package init(named name: String?) { self.init(number: name == "headroom" ? 1 : 0) }

    /// The law as a number, for the image that supervises.
    package var number: Int64 {
      switch self {
      case .escra: 0
      case .headroom: 1
      }
    }

    /// Reads ``number`` back, with the constants that are published.
    package init(number: Int64) { self = number == 1 ? .headroom(.standard) : .escra(.published) }

    /// The same law for another period.
    package func scaled(toPeriod period: Nanoseconds) -> Parameters {
      switch self {
      case .escra(let parameters): .escra(parameters.scaled(toPeriod: period))
      case .headroom(let parameters): .headroom(parameters.scaled(toPeriod: period))
      }
    }

    /// Silence after which a container is idle.
    var idleAfter: Nanoseconds {
      switch self {
      case .escra(let parameters): parameters.idleAfter
      case .headroom(let parameters): parameters.idleAfter
      }
    }

    /// For how long a container keeps what it starts with.
    var settling: Nanoseconds {
      switch self {
      case .escra: 0
      case .headroom(let parameters): parameters.settling
      }
    }
  }

  /// A law that has seen nothing yet.
  package init(_ parameters: Parameters) {
    switch parameters {
    case .escra(let parameters): self = .escra(EscraLaw(parameters))
    case .headroom(let parameters): self = .headroom(HeadroomLaw(parameters))
    }
  }

  /// The rule by which an idle container goes to its floor.
  var idleRule: Rule {
    if case .escra = self { .idle } else { .rest }
  }

  /// Whether a period goes on when the quota is raised in the middle of it.
  ///
  /// `escra` averages over windows of one quota; `headroom` wants to know what a period took.
  var keepsPeriods: Bool {
    if case .escra = self { false } else { true }
  }

  /// From now on a hook calls in time, and the quota may be raised as often as it takes.
  mutating func becomePrompt() {
    guard case .headroom(var law) = self else { return }
    law.becomePrompt()
    self = .headroom(law)
  }

  /// What a container that wakes is given at once.
  func wake(_ parameters: Parameters) -> Nanoseconds {
    switch (self, parameters) {
    case (.headroom(let law), _): law.wake
    case (.escra, .escra(let parameters)): parameters.jumpStart
    case (.escra, .headroom): 0
    }
  }

  /// Use from which the quota is about to be used up.
  func threshold(
    of quota: Nanoseconds, pace: Nanoseconds, slice: Nanoseconds
  ) -> Nanoseconds {
    switch self {
    case .escra: max(quota / 2, quota - slice)
    case .headroom(let law): law.threshold(of: quota, pace: pace)
    }
  }

  /// Takes a report and says what the quota should be; nil to leave it.
  mutating func decide(_ report: PeriodReport, bounds: QuotaBounds) -> QuotaDecision? {
    switch self {
    case .escra(var law):
      let decision = law.decide(
        report,
        pool: EscraLaw.Pool(
          unallocated: max(0, bounds.ceiling - report.quota), fairShare: bounds.ceiling),
        bounds: bounds)
      self = .escra(law)
      return decision
    case .headroom(var law):
      let decision = law.decide(report, bounds: bounds)
      self = .headroom(law)
      return decision
    }
  }

  /// Forgets what was seen.
  mutating func forget() {
    switch self {
    case .escra(var law):
      law.forget()
      self = .escra(law)
    case .headroom(var law):
      law.forget()
      self = .headroom(law)
    }
  }
}

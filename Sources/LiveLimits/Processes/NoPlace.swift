// SPDX-License-Identifier: Apache-2.0
package import Application

/// Why an application has no place for a new member.
package enum NoPlace: Equatable, Sendable {
  /// The broker refused, with the figure that ``ApplicationMessage/Refusal`` explains.
  case refused(SharedResource, ApplicationMessage.Refusal, figure: Int64)
  /// The node's share is too small, its agent was asked for more, and brought too little; the figure
  /// is what is left on this node.
  case noShare(SharedResource, figure: Int64)
  /// There is a place, and nothing of the resource was released in time.
  case full(SharedResource)
  /// The directory belongs to another application.
  case taken
  /// The broker did not answer in time.
  case silence

  /// A word for a frame: the resource, and the reason in the lowest byte.
  var word: Int64 {
    switch self {
    case .refused(let resource, let reason, _):
      Int64(resource.rawValue) << 8 | Int64(reason.rawValue)
    case .noShare(let resource, _): Int64(resource.rawValue) << 8 | Self.noShareReason
    case .full(let resource): Int64(resource.rawValue) << 8 | Self.fullReason
    case .taken: Self.takenWord
    case .silence: 0
    }
  }

  /// The figure beside it.
  var figure: Int64 {
    switch self {
    case .refused(_, _, let figure), .noShare(_, let figure): figure
    case .full, .taken, .silence: 0
    }
  }

  /// Reads both; what no program of this version sends counts as silence.
  init(word: Int64, figure: Int64) {
    let reason = UInt8(truncatingIfNeeded: word)
    let resource = SharedResource(rawValue: UInt8(truncatingIfNeeded: word >> 8))
    switch (resource, ApplicationMessage.Refusal(rawValue: reason)) {
    case (let resource?, let refusal?): self = .refused(resource, refusal, figure: figure)
    case (let resource?, nil) where Int64(reason) == Self.fullReason: self = .full(resource)
    case (let resource?, nil) where Int64(reason) == Self.noShareReason:
      self = .noShare(resource, figure: figure)
    case (nil, _) where word == Self.takenWord: self = .taken
    default: self = .silence
    }
  }

  /// Beside the values of ``ApplicationMessage/Refusal``, and without a resource.
  private static let fullReason: Int64 = 9
  private static let noShareReason: Int64 = 10
  private static let takenWord: Int64 = 1
}

// SPDX-License-Identifier: Apache-2.0
package import Application
internal import Control
internal import Quantities

extension CPUBase {
  /// As a member of an application.
  package var share: MemberRecord.Share {
    let most = min(ceiling, ApplicationMessage.most)
    let least = CFSBandwidth(quota: CFSBandwidth.minimum, period: declared.period).nanocores ?? 0
    var share = MemberRecord.Share(
      declared: min(declaredCores ?? limit, ApplicationMessage.most),
      floor: min(max(floor, least), most), ceiling: most)
    share.group = above.memberGroup
    return share
  }
}

extension MemoryBase {
  /// As a member of an application.
  package func share(held: Int64 = 0) -> MemberRecord.Share {
    let most = min(bounds.ceiling, ApplicationMessage.most)
    var share = MemberRecord.Share(
      held: min(held, ApplicationMessage.most),
      declared: min(max(declared ?? limit, needed ?? 0), ApplicationMessage.most),
      floor: min(max(floor, needed ?? 0), most), ceiling: most)
    share.group = above.memberGroup
    return share
  }
}

extension LimitsAbove {
  /// What bounds the container together with the others in that group, as a member of an
  /// application.
  var memberGroup: MemberGroup? {
    guard group != 0, let limit else { return nil }
    return MemberGroup(
      id: group, limit: min(limit, isRaised ? .max : beyond ?? .max, ApplicationMessage.most),
      isRaised: isRaised)
  }
}

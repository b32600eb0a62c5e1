// SPDX-License-Identifier: Apache-2.0

/// Why what a container asks for cannot be had: one sentence that names the key, the value and
/// what is accepted.
///
/// Keys are as they were written, `/NAME` and all, and like values they are escaped and cut when
/// printed (see ``quoted(_:)``): both come from any user who may set an annotation.
package enum PolicyError: Error, Equatable, Sendable, CustomStringConvertible {
  /// A key under `io.escra.` that is none of ours.
  case unknownKey(String, nearest: String?)
  /// A key for the whole application with `/NAME` behind it.
  case notNarrowable(String, write: String)
  /// A key for one container of a pod, where the engine gives containers no names.
  case noContainerName(String, write: String)
  /// A value longer than a line of any use.
  case tooLong(key: String, value: String, limit: Int)
  /// A value that does not parse, or is out of range; `why` ends the sentence.
  case badValue(key: String, value: String, why: String)
  /// Keys that want a policy, and no policy from anywhere.
  case noPolicy(key: String)
  /// A policy that the operator does not allow; the key is nil for a default.
  case notAllowed(PolicyName, key: String?, allowed: [PolicyName])
  /// A key that contradicts `strict`.
  case notWithStrict(key: String)
  /// A value above what bounds it: another annotation, what is declared, the operator's config.
  /// `bound` and `limit` are printed as they are.
  case above(key: String, value: String, bound: String, limit: String)
  /// The program was called by a name that selects no policy.
  case unknownProgramName(String)

  /// The sentence.
  package var description: String {
    switch self {
    case .unknownKey(let key, let nearest?):
      "unknown annotation \(escaped(key)); the nearest known one is \(nearest)"
    case .unknownKey(let key, nil):
      "unknown annotation \(escaped(key)); known are "
        + listed(AnnotationKey.allCases.map(\.name), "and")
    case .notNarrowable(let key, let write):
      "\(escaped(key)) is for the whole application, not for one container; write \(write)"
    case .noContainerName(let key, let write):
      "\(escaped(key)) is for one container of a pod, and the engine gives this container no name to "
        + "compare; write \(write) on the container itself"
    case .tooLong(let key, let value, let limit):
      "\(escaped(key)) \(quoted(value)) is \(value.utf8.count) bytes long; write at most \(limit)"
    case .badValue(let key, let value, let why):
      "\(escaped(key)) \(quoted(value)) \(why)"
    case .noPolicy(let key):
      "\(escaped(key)) has no effect without a policy; add \(AnnotationKey.policy.name): "
        + "strict, reactive or observe, or standard to ignore it"
    case .notAllowed(let policy, let key, let allowed):
      "\(key.map(escaped) ?? "the default policy") \(quoted(policy.rawValue)) is not allowed on this node; "
        + "use \(listed(allowed.map(\.rawValue)))"
    case .notWithStrict(let key):
      "\(escaped(key)) contradicts the policy strict, whose CPUs are the declared ones; "
        + "remove it, or use reactive"
    case .above(let key, let value, let bound, let limit):
      "\(escaped(key)) \(quoted(value)) is above \(bound) \(limit); write at most \(limit)"
    case .unknownProgramName(let name):
      "program name \(quoted(name)) selects no policy; use "
        + listed(PolicyName.allCases.map { "escra-runc.\($0.rawValue)" })
    }
  }
}

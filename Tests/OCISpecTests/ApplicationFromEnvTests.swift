// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import OCISpec
@testable import Quantities

/// `applicationFromEnv`: an application that a container's environment names.
struct ApplicationFromEnvTests {
  private func resolve(
    _ env: String, annotations: String = "", default name: PolicyName? = .reactive,
    variable: String? = "ESCRA_APP"
  ) throws -> ContainerPolicy {
    let text = #"{"process":{"env":[\#(env)]},"annotations":{\#(annotations)},"linux":{}}"#
    let document = try ConfigDocument(Array(text.utf8))
    var config = OperatorConfig()
    config.applicationFromEnv = variable
    return try ContainerPolicy.resolve(
      annotations: document.annotations,
      variables: variable.map { document.variables(of: $0) } ?? [],
      declared: DeclaredLimits(cpu: nil, memory: nil), config: config,
      node: NodeCapacity(millicores: 8000, memory: 1 << 33), invocationDefault: name)
  }

  @Test func `a variable names the application, its scope and its limits`() throws {
    let policy = try resolve(
      #""PATH=/bin","ESCRA_APP=shop","ESCRA_APP_SCOPE=cluster","ESCRA_APP_CPU=1500m","#
        + #""ESCRA_APP_MEMORY=1Gi""#)
    #expect(policy.app == "shop" && policy.spansNodes)
    #expect(policy.appCPU == CPUAmount(millicores: 1500) && policy.appMemory == 1 << 30)
  }

  @Test func `nothing is read unless the operator wants that`() throws {
    #expect(try resolve(#""ESCRA_APP=shop""#, variable: nil).app == nil)
    #expect(try resolve(#""ESCRA_APP=shop""#, variable: "OTHER").app == nil)
  }

  @Test func `an annotation wins, with all that it leaves out`() throws {
    let policy = try resolve(
      #""ESCRA_APP=shop","ESCRA_APP_CPU=2""#, annotations: #""io.escra.app":"mine""#)
    #expect(policy.app == "mine" && policy.appCPU == nil)
  }

  @Test(arguments: [nil, .standard] as [PolicyName?])
  func `a container without a policy stays as it is`(name: PolicyName?) throws {
    #expect(try resolve(#""ESCRA_APP=No name""#, default: name).name == .standard)
  }

  @Test func `of a name that comes twice the last one counts`() throws {
    #expect(try resolve(#""ESCRA_APP=a","ESCRA_APP=b""#).app == "b")
  }

  @Test(arguments: [
    #""ESCRA_APPS=x","AESCRA_APP=x","ESCRA_APP""#, #"["ESCRA_APP=x"],{"a":"ESCRA_APP=x"}"#,
    #""A=\"ESCRA_APP=x\"""#, "",
  ])
  func `what only looks like the variable is not read`(env: String) throws {
    #expect(try resolve(env).app == nil)
  }

  @Test func `the name is one as in an annotation, and the error says which variable it was`() {
    do {
      _ = try resolve(#""ESCRA_APP=Shop!""#)
      Issue.record("it was taken")
    } catch {
      #expect("\(error)".hasPrefix(#"ESCRA_APP "Shop!" is no application name; write"#))
    }
  }
}

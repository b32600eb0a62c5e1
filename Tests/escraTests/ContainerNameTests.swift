// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import escra

@Suite struct ContainerNameTests {
  @Test(arguments: [
    "io.kubernetes.cri.container-name io.kubernetes.cri.sandbox-name "
      + "io.kubernetes.cri.sandbox-namespace",
    "io.kubernetes.container.name io.kubernetes.pod.name io.kubernetes.pod.namespace",
  ])
  func `a pod's container is called by both names`(keys: String) throws {
    let keys = keys.split(separator: " ").map(String.init)
    let annotations = [keys[0]: "web", keys[1]: "shop", keys[2]: "prod"]
    let name = try #require(ContainerName(annotations: annotations))
    #expect(name.text == "shop/web" && name.words == ["shop/web", "prod/shop/web"])
    #expect(name.pod == "shop" && name.container == "web" && name.namespace == "prod")
  }

  @Test func `other engines' annotations`() {
    #expect(ContainerName(annotations: ["nerdctl/name": "db"]) == ContainerName("db"))
    #expect(ContainerName(annotations: ["io.escra.policy": "observe"]) == nil)
    #expect(ContainerName(annotations: ["nerdctl/name": ""]) == nil)
  }

  @Test func `Podman's conmon is told the name`() {
    let words = ["/usr/bin/conmon", "-c", "4f72", "-u", "4f72", "-r", "/usr/bin/runc", "-n", "web"]
    #expect(ContainerName(conmon: words, of: "4f72") == ContainerName("web"))
    #expect(ContainerName(conmon: words, of: "4f73") == nil)
    #expect(ContainerName(conmon: Array(words.dropLast()), of: "4f72") == nil)
    #expect(ContainerName(conmon: ["bash"], of: "4f72") == nil)
  }

  @Test func `Docker's file lies beside what it mounts`() {
    let sources = ["proc", "/srv/hosts", "/data/containers/4f72/hosts"]
    #expect(
      ContainerName.dockerFile(mounts: sources, id: "4f72")
        == "/data/containers/4f72/config.v2.json")
    #expect(ContainerName.dockerFile(mounts: sources, id: "4f73") == nil)
  }

  @Test(arguments: [
    (#"{"ID":"4f72","Name":"/web"}"#, "web"), (#"{"Name":"web"}"#, nil), (#"{"Name":"/"}"#, nil),
    (#"{"Name":1}"#, nil), ("{}", nil), ("", nil),
  ])
  func `Docker's file says the name behind a slash`(text: String, name: String?) {
    #expect(ContainerName(docker: Array(text.utf8))?.text == name)
  }
}

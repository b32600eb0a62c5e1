// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import escra_agent

struct CertificateEndTests {
  // openssl req -x509 -newkey ec -days 365, and -days 36500.
  private static let short = """
    -----BEGIN CERTIFICATE-----
    MIIBbTCCAROgAwIBAgIUEFkIZH8iJaMMN2h1fTaUV2r1WUkwCgYIKoZIzj0EAwIw
    DDEKMAgGA1UEAwwBYTAeFw0yNjEyMDEwNDU4MzBaFw0yNzEyMDEwNDU4MzBaMAwx
    CjAIBgNVBAMMAWEwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAT/XvEqMhlJ7/bi
    EsUMyP3KAmmI5YXUsHTPeRkiVub1ZMvuJbTX0vj63saboD8Kfy9tH4yA/tfFdxha
    sFte3Dqqo1MwUTAdBgNVHQ4EFgQUDxuGZOwEhC1mVqCkaIig0cjxXDwwHwYDVR0j
    BBgwFoAUDxuGZOwEhC1mVqCkaIig0cjxXDwwDwYDVR0TAQH/BAUwAwEB/zAKBggq
    hkjOPQQDAgNIADBFAiEA6pOZnICdKt9CIhdA7g0vs1SyC5r0mfkJbgjL+kBIP50C
    IDvHzkPYnuivxdqQTcyRk9teLOSJxJXaFTURmRwKxCNH
    -----END CERTIFICATE-----
    """
  private static let long = """
    -----BEGIN CERTIFICATE-----
    MIIBbzCCARWgAwIBAgIUfY1nZtMExJ2ORTT9c9fboklNHZwwCgYIKoZIzj0EAwIw
    DDEKMAgGA1UEAwwBYTAgFw0yNjEyMDEwNDU4MjlaGA8yMTI2MTEwNzA0NTgyOVow
    DDEKMAgGA1UEAwwBYTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABBqZs+FE3LgS
    im7Z3tZLJGJKmk4YkW3AAQ5YKlUgWBIWUuPS3FfO8VMe3k/8gByrja79o75zgnaV
    nldu2DSJ22qjUzBRMB0GA1UdDgQWBBRObQ5eWFjl+EFbhhE81qnZayQ99TAfBgNV
    HSMEGDAWgBRObQ5eWFjl+EFbhhE81qnZayQ99TAPBgNVHRMBAf8EBTADAQH/MAoG
    CCqGSM49BAMCA0gAMEUCIQCmunwOsyUJQWO+q2tdUAXtuRYRzDOV+coRVBDz+hUc
    MwIgd73K1SlJRRYHvyqbTccqcX3q6mRsMnlN0qL2Z9bJaOQ=
    -----END CERTIFICATE-----
    """

  // What date(1) makes of openssl x509 -enddate.
  @Test(arguments: [(short, 1_827_637_110), (long, 4_949_701_109)] as [(String, Int64)])
  func `reads the end that openssl shows`(text: String, end: Int64) {
    #expect(CertificateEnd.of(pem: text) == end)
  }

  @Test(arguments: ["", "rubbish", "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----"])
  func `reads nothing from what is no certificate`(text: String) {
    #expect(CertificateEnd.of(pem: text) == nil)
  }

  @Test func `no certificate that was cut short is read beyond its end`() {
    let lines = Self.short.split(separator: "\n")
    let bytes = Base64.decode(lines[1..<(lines.count - 1)].joined()) ?? []
    for count in 0..<bytes.count {
      let text = Base64.encode(Array(bytes.prefix(count)))
      _ = CertificateEnd.of(
        pem: "-----BEGIN CERTIFICATE-----\n\(text)\n-----END CERTIFICATE-----\n")
    }
  }
}

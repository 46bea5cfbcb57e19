import GatewayConfig
import Testing

@Suite struct SecurityHeadersTests {
    private static let top = """
        security_headers:
          hsts: 365d
          hsts_include_subdomains: true
          nosniff: true
          frame_options: DENY
          referrer_policy: "no-referrer,strict-origin"
          content_security_policy: "default-src 'self'"
        """

    private func load(_ top: String, _ route: String) -> ConfigurationResult {
        GatewayConfigTests.load(
            file(
                top: top,
                routes:
                    "  - { host: app.example.com, path: /, upstream: app, public: true, security_headers: { \(route) } }"
            ))
    }

    @Test func `nothing is sent unless the file says so`() throws {
        let configuration = try #require(GatewayConfigTests.load(file()).configuration)
        #expect(configuration.securityHeaders == .init())
        #expect(configuration.routes[0].securityHeaders == .init())
    }

    @Test func `a route has what stands at the top, key by key but for its own`() throws {
        let result = load(Self.top, "frame_options: SAMEORIGIN, permissions_policy: camera=(), existing: replace")
        let configuration = try #require(result.configuration, "\(result.problems)")
        var expected = GatewayConfiguration.SecurityHeaders()
        expected.hstsMaxAge = .seconds(31_536_000)
        expected.hstsIncludesSubdomains = true
        expected.forbidsSniffing = true
        expected.frameOptions = "DENY"
        expected.referrerPolicy = "no-referrer, strict-origin"
        expected.contentSecurityPolicy = "default-src 'self'"
        #expect(configuration.securityHeaders == expected)
        expected.frameOptions = "SAMEORIGIN"
        expected.permissionsPolicy = "camera=()"
        expected.replacesExisting = true
        #expect(configuration.routes[0].securityHeaders == expected)
    }

    @Test func `a route can switch each of them off`() throws {
        let result = load(
            Self.top,
            "hsts: off, hsts_include_subdomains: false, nosniff: false, frame_options: off, referrer_policy: off, "
                + "content_security_policy: off")
        #expect(try #require(result.configuration, "\(result.problems)").routes[0].securityHeaders == .init())
    }

    @Test(arguments: [
        "frame_options: ALLOW-FROM https://x.test", "frame_options: deny", "referrer_policy: none",
        "referrer_policy: 'no-referrer,'", "referrer_policy: ''", "hsts: 31536000", "hsts: 3651d", "hsts: -1d",
        "nosniff: off", "content_security_policy: 'é'", "content_security_policy: \"a\\r\\nX: y\"",
        "content_security_policy: ' a'", "permissions_policy: ''", "existing: append", "hsts_max_age: 1d",
        "x_frame_options: DENY",
    ])
    func `what no browser would understand is an error`(text: String) {
        #expect(load("", text).configuration == nil)
        #expect(GatewayConfigTests.load(file(top: "security_headers: { \(text) }")).configuration == nil)
    }

    @Test(arguments: [
        ("hsts: 365d, hsts_include_subdomains: true", true), ("hsts: 364d, hsts_include_subdomains: true", false),
        ("hsts: 365d", false), ("hsts: off, hsts_include_subdomains: true", false), ("", false),
    ])
    func `preload needs subdomains and a year`(others: String, isTaken: Bool) {
        let text = "security_headers: { \(others.isEmpty ? "" : others + ", ")hsts_preload: true }"
        #expect((GatewayConfigTests.load(file(top: text)).configuration != nil) == isTaken)
    }

    @Test func `hsts that can never be sent is worth a warning`() {
        func problems(_ top: String) -> [ConfigurationProblem] {
            let text = file(top: top).replacing(
                "tls: { certificates: [{ certificate: cert.pem, key: key.pem }] }", with: "")
            return GatewayConfigTests.load(text).problems
        }
        let hsts = "security_headers: { hsts: 1d }"
        #expect(problems(hsts).map(\.severity) == [.warning])
        #expect(problems("").isEmpty)
        #expect(!problems("trusted_proxies: 10.0.0.1\n" + hsts).contains { $0.message.contains("'hsts'") })
        #expect(GatewayConfigTests.load(file(top: hsts)).problems.isEmpty)
    }
}

import GatewayConfig
import Testing

@Suite struct PrinterTests {
    private static let text = """
        workers: 2
        listeners:
          - address: 127.0.0.1:${PORT:-8443}
            tls: { certificates: [{ certificate: cert.pem, key: key.pem }] }
        upstreams:
          app: { endpoints: [127.0.0.1:5001, "unix:/run/app.sock"] }
        authentication:
          jwt:
            - { issuer: https://a.example, audience: [x, y], keys: { secret_file: secret } }
        redis: { url: "redis://me:hunter2hunter2@127.0.0.1/3" }
        limits:
          few: { rate: 5 per minute }
        routes:
          - host: app.example.com
            path: /
            name: "costs $$5 # or more"
            upstream: app
            require: { scopes: [a, b], roles: [r, s] }
            limit: few
        """

    @Test func `print names the origin of each value`() {
        let printed = ConfigurationPrinter.yaml(load(Self.text, environment: ["PORT": "8444", "GATEWAY_WORKERS": "3"]))
        let lines = printed.split(separator: "\n").map(String.init)
        #expect(lines.contains("workers: 3  # environment GATEWAY_WORKERS"))
        #expect(lines.contains("  - address: 127.0.0.1:8444  # gateway.yaml:3 ${PORT}"))
        #expect(lines.contains("    head_timeout: 10s  # default"))
        #expect(lines.contains("    rate: 5/minute  # gateway.yaml:12"))
        #expect(lines.contains("    burst: 5  # default"))
        #expect(
            lines.contains("        secret: \"***\"  # file secret")
                || lines.contains("        secret_file: secret  # gateway.yaml:9"))
    }

    @Test func `print shows no secret`() {
        let printed = ConfigurationPrinter.yaml(load(Self.text))
        #expect(!printed.contains("hunter2"))
        #expect(!printed.contains("Zx8kQ2vLr0"))
        #expect(printed.contains("redis://me:***@127.0.0.1:6379/3"))
    }

    @Test func `what print shows loads again and prints the same values`() throws {
        let first = load(Self.text)
        #expect(first.problems.map(\.description) == [])
        let printed = ConfigurationPrinter.yaml(first)
        let second = load(printed)
        #expect(second.problems.map(\.description) == [])
        let values = { (text: String) in text.split(separator: "\n").map { $0.split(separator: "  # ")[0] } }
        #expect(values(ConfigurationPrinter.yaml(second)) == values(printed))
        #expect(second.configuration?.routes[0].access.requirement == first.configuration?.routes[0].access.requirement)
        #expect(second.configuration?.routes[0].name == "costs $5 # or more")
    }
}

extension GatewayConfiguration.Route.Access {
    fileprivate var requirement: String {
        guard case .rules(let rules) = self else { return "" }
        return rules.map { "\($0.require)" }.joined()
    }
}

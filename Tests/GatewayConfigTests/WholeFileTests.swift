import GatewayConfig
import IdentityModel
import Testing

@Suite struct WholeFileTests {
    /// The example of the design without what is not built.
    static let example = """
        listeners:
          - address: 0.0.0.0:8443
            tls: { certificates: [{ certificate: cert.pem, key: key.pem }] }
        upstreams:
          billing:
            endpoints: [127.0.0.1:5001]
        authentication:
          jwt:
            - issuer: https://iam.company
              audience: oms
              keys: { jwks_url: https://iam.company/.well-known/jwks.json }
              algorithms: [ES256, RS256]
        redis: { url: redis://127.0.0.1 }
        limits:
          per-user: { rate: 50/hour, burst: 20, key: subject, store: redis, on_store_error: local }
        routes:
          - { host: billing.example.com, path: /static/**, upstream: billing, public: true }
          - host: billing.example.com
            path: /invoices/**
            upstream: billing
            rules:
              - { methods: [GET], require: { scopes: [invoices:read] } }
              - { methods: [POST, PUT, DELETE], require: { scopes: [invoices:write] }, limit: per-user }
        tests:
          - { when: GET https://billing.example.com/invoices/7, as: { scopes: [invoices:read] }, expect: allow }
        """

    @Test func `the example of the design loads without a problem`() throws {
        let result = load(Self.example)
        #expect(result.problems.map(\.description) == [])
        let configuration = try #require(result.configuration)
        #expect(configuration.listeners.first?.address == .tcp(host: "0.0.0.0", port: 8443))
        let rules = configuration.listeners.first?.tls?.rules
        #expect(rules?.profile == .intermediate && rules?.clientCertificates == nil)
        #expect(configuration.listeners.first?.headTimeout == .seconds(10))
        #expect(configuration.upstreams.first?.endpoints == [.tcp(host: "127.0.0.1", port: 5001)])
        #expect(configuration.authentication.jwt.first?.audiences == ["oms"])
        #expect(configuration.authentication.jwt.first?.algorithms == [.ES256, .RS256])
        let limit = try #require(configuration.limits.first)
        #expect(limit.count == 50 && limit.period == .seconds(3600) && limit.burst == 20 && limit.store == .redis)
        #expect(configuration.routes.count == 2)
        #expect(configuration.routes[0].access == .open && configuration.routes[0].credentials == [])
        #expect(configuration.routes[0].name == "billing.example.com/static/**")
        #expect(configuration.routes[1].credentials == [.jwt])
        guard case .rules(let rules) = configuration.routes[1].access else {
            Issue.record("no rules")
            return
        }
        #expect(rules.map(\.methods) == [["GET"], ["POST", "PUT", "DELETE"]])
        #expect(rules[1].limits == ["per-user"])
        #expect(rules[0].require == Scope("invoices:read").map { .scope($0) })
        #expect(rules[0].location.line == 22 && rules[0].location.path == "routes[1].rules[0]")
        #expect(configuration.tests.first?.expect == .allow)
    }

    @Test func `the example of the design names every key that is not built`() {
        let text = Self.example.replacing(
            "endpoints: [127.0.0.1:5001]", with: "endpoints: [127.0.0.1:5001]\n    server: gunicorn@20")
        #expect(
            load(text).problems.map(\.description) == [
                "gateway.yaml:7:5: upstreams.billing.server: the key 'server' is unknown; known here: endpoints, "
                    + "connect_timeout, first_byte_timeout, idle_timeout, keep_alive, exchanges_max, queue_max, queue_timeout, "
                    + "head_bytes_max"
            ])
    }
}

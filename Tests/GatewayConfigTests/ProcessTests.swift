import GatewayConfig
import IdentityModel
import Testing

@Suite struct ProcessTests {
    @Test func `defaults are those of the reference`() throws {
        let configuration = try #require(load(file()).configuration)
        #expect(configuration.workers == nil && configuration.user == nil)
        #expect(configuration.trustedProxies.isEmpty)
        #expect(configuration.stopTimeout == .seconds(30) && configuration.drainDelay == .zero)
        #expect(configuration.log.access == .standardOutput && configuration.log.level == "info")
        #expect(configuration.admin.address == .tcp(host: "127.0.0.1", port: 9464))
        let session = configuration.authentication.session
        #expect(session.idleTimeout == .seconds(28800) && session.lifetime == .seconds(28800))
        #expect(configuration.identity.exposeSessionToken && configuration.identity.verifyWithoutSession == .ok)
    }

    @Test(arguments: [
        ("stdout", GatewayConfiguration.Log.Destination.standardOutput), ("off", .off),
        ("/var/log/a", .file("/var/log/a")), ("a.log", .file("conf/a.log")),
    ])
    func `reads where the access log goes`(text: String, expected: GatewayConfiguration.Log.Destination) {
        let files = MemoryFiles.usual.with("conf/cert.pem", "-----BEGIN CERTIFICATE-----").with(
            "conf/key.pem", "-----BEGIN PRIVATE KEY-----")
        let result = ConfigurationLoader.load(
            text: file(top: "log: { access: \(text) }"), file: "conf/gateway.yaml", fileAccess: files)
        #expect(result.problems.map(\.description) == [])
        #expect(result.configuration?.log.access == expected)
    }

    @Test func `the admin listener can be switched off, and only by the word off`() {
        #expect(load(file(top: "admin: off")).configuration?.admin.address == .none)
        #expect(load(file(top: "admin: off")).configuration != nil)
        #expect(load(file(top: "admin: no")).configuration == nil)
        #expect(load(file(top: "admin: ${A:-off}")).configuration != nil)
        #expect(
            load(file(top: "admin: { address: 127.0.0.1:1 }")).configuration?.admin.address
                == .tcp(host: "127.0.0.1", port: 1))
    }

    @Test func `an operator's listener is never a public one`() {
        #expect(
            load(file(top: "admin: { address: 127.0.0.1:8443 }")).lines.contains {
                $0.contains("taken by another listener")
            })
        #expect(load(file(listener: "  - { address: 127.0.0.1:8443 }")).hasErrors)
        #expect(!load(file(listener: "  - { address: 127.0.0.1:0 }\n  - { address: 127.0.0.1:0 }")).hasErrors)
    }

    @Test func `trusting everybody is worth a warning`() {
        for block in ["0.0.0.0/0", "::/0"] {
            let problems = load(file(top: "trusted_proxies: ['\(block)']")).problems
            #expect(problems.map(\.severity) == [.warning], "\(block)")
        }
        #expect(load(file(top: "trusted_proxies: 10.0.0.0/8")).problems.isEmpty)
    }

    @Test func `a listener has TLS or redirects to it`() {
        #expect(load(file(listener: "  - { address: 127.0.0.1:1, redirect_to_https: 8443 }")).configuration != nil)
        let both =
            "  - { address: 127.0.0.1:1, redirect_to_https: 8443, tls: { certificates: [{ certificate: cert.pem, key: key.pem }] } }"
        #expect(load(file(listener: both)).configuration == nil)
        #expect(load(file(listener: "  - { address: 127.0.0.1:1, tls: { certificates: [] } }")).configuration == nil)
        #expect(load(file(listener: "  - { address: 127.0.0.1:1, tls: {} }")).configuration == nil)
    }

    @Test func `the protocols within TLS are a list of those that are served, each once`() {
        func load(_ protocols: String) -> ConfigurationResult {
            let certificates = "certificates: [{ certificate: cert.pem, key: key.pem }]"
            return GatewayConfigTests.load(
                file(listener: "  - { address: 127.0.0.1:1, tls: { \(certificates)\(protocols) } }"))
        }
        func protocols(_ text: String) -> [GatewayConfiguration.TLS.ApplicationProtocol]? {
            load(", protocols: \(text)").configuration?.listeners.last?.tls?.protocols
        }
        #expect(load("").configuration?.listeners.last?.tls?.protocols == GatewayConfiguration.TLS.protocolsByDefault)
        #expect(protocols("[http/1.1]") == [.http1])
        #expect(protocols("http/1.1") == [.http1])
        #expect(protocols("[h2, http/1.1]") == [.http2, .http1])
        #expect(protocols("[http/1.1, h2]") == [.http1, .http2])
        for wrong in ["[]", "[http/1.1, http/1.1]", "[http/1.0]", "[h3]", "[H2]", "''"] {
            #expect(protocols(wrong) == nil, "\(wrong)")
        }
    }

    @Test func `certificates and keys have to be there, of the right kind, and keys closed to others`() {
        func problems(_ files: MemoryFiles) -> [String] { load(file(), files: files).lines }
        let path = "listeners[0].tls.certificates[0]"
        #expect(problems(.init()).map { $0.prefix(path.count + 12) }.count == 2)
        #expect(
            problems(MemoryFiles.usual.with("cert.pem", "nothing")).contains { $0.contains("holds no certificate") })
        #expect(
            problems(MemoryFiles.usual.with("key.pem", "-----BEGIN CERTIFICATE-----")).contains {
                $0.contains("holds no private key")
            })
        #expect(
            problems(MemoryFiles.usual.with("key.pem", "-----BEGIN ENCRYPTED PRIVATE KEY-----")).contains {
                $0.contains("passphrase")
            })
        for mode in [0o600, 0o400, 0o640, 0o440] as [UInt32] {
            #expect(problems(MemoryFiles.usual.with("key.pem", "-----BEGIN PRIVATE KEY-----", mode: mode)) == [])
        }
        for mode in [0o644, 0o604, 0o602, 0o601, 0o620, 0o660] as [UInt32] {
            let lines = problems(MemoryFiles.usual.with("key.pem", "-----BEGIN PRIVATE KEY-----", mode: mode))
            #expect(
                lines == [
                    "\(path).key: the file 'key.pem' is open to other users (mode 0\(String(mode, radix: 8))); run: chmod 0600 key.pem"
                ])
        }
    }

    @Test func `names of upstreams are plain, and identity is taken`() {
        for name in ["identity", "a b", "\"\"", "é", "a/b"] {
            let text = file(upstreams: "  app: { endpoints: [127.0.0.1:1] }\n  \(name): { endpoints: [127.0.0.1:1] }")
            #expect(load(text).hasErrors, "\(name)")
        }
    }

    @Test func `an upstream needs an endpoint`() {
        #expect(
            load(file(upstreams: "  app: {}")).lines.contains {
                $0.hasPrefix("upstreams.app.endpoints: the setting is missing")
            })
        #expect(
            load(file(upstreams: "  app: { endpoints: [] }")).lines.contains {
                $0.hasPrefix("upstreams.app.endpoints: the list is empty")
            })
        #expect(
            load(file(upstreams: "  app: { endpoints: 127.0.0.1:1 }")).configuration?.upstreams[0].endpoints.count == 1)
    }

    @Test func `limits need Redis where they say so`() {
        let limited = "  - { host: app.example.com, path: /, upstream: app, public: true, limit: few }"
        func load(_ limit: String, environment: [String: String] = [:]) -> ConfigurationResult {
            GatewayConfigTests.load(file(top: "limits: { few: \(limit) }", routes: limited), environment: environment)
        }
        #expect(load("{ rate: 5/minute }").configuration?.limits[0].store == .memory)
        #expect(
            load("{ rate: 5/minute }", environment: ["REDIS_URL": "redis://r"]).configuration?.limits[0].store == .redis
        )
        #expect(
            load("{ rate: 5/minute, store: memory }", environment: ["REDIS_URL": "redis://r"]).configuration?.limits[0]
                .store == .memory)
        #expect(load("{ rate: 5/minute, store: redis }").configuration == nil)
        #expect(load("{ rate: 5/minute, store: redis }", environment: ["REDIS_URL": ""]).configuration == nil)
        #expect(load("{ burst: 5 }").configuration == nil)
        #expect(load("{ rate: 5/minute }").configuration?.limits[0].burst == 5)
        #expect(load("{ rate: 5/minute, burst: 2 }").configuration?.limits[0].burst == 2)
    }

    @Test func `Redis needs its URL, and one password`() {
        #expect(
            load(file(top: "redis: { timeout: 1s }")).lines.contains {
                $0.hasPrefix("redis.url: the setting is missing")
            })
        let result = load(file(top: "redis: { url: redis://h, password_file: secret }"))
        #expect(result.configuration?.redis?.password?.reveal() == "Zx8kQ2vLr0TnWb5yHs1uJd7mCe4gPf9a")
        #expect(load(file(top: "redis: { url: 'redis://:x@h', password_file: secret }")).configuration == nil)
        #expect(load(file(top: "redis: { url: redis://h, password: x, password_file: secret }")).configuration == nil)
        let open = MemoryFiles.usual.with("secret", "password", mode: 0o644)
        #expect(load(file(top: "redis: { url: redis://h, password_file: secret }"), files: open).configuration == nil)
    }
}

@Suite struct UpstreamEndpointTests {
    private func problems(endpoints count: Int) -> [String] {
        let endpoints = (1...count).map { "127.0.0.1:\(5000 + $0)" }.joined(separator: ", ")
        let text = """
            listeners: [{ address: 127.0.0.1:8080 }]
            upstreams: { many: { endpoints: [\(endpoints)] } }
            routes: [{ path: /**, upstream: many, public: true }]
            """
        return ConfigurationLoader.load(text: text).problems.filter { $0.severity == .error }.map(\.description)
    }

    @Test func `an upstream has at most 64 endpoints`() {
        #expect(problems(endpoints: 64).filter { $0.contains("endpoints") }.isEmpty)
        #expect(problems(endpoints: 65).filter { $0.contains("an upstream has 65 endpoints") }.count == 1)
    }
}

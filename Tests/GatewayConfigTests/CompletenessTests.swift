import IdentityModel
import Testing

@testable import GatewayConfig

/// A setting that is declared but never read would be accepted and ignored.
@Suite struct CompletenessTests {
    private static let full = """
        workers: 2
        memory_max: 64MiB
        user: gateway:gateway
        trusted_proxies: [10.0.0.0/8, unix]
        drain_delay: 1s
        stop_timeout: 10s
        log: { access: off, level: warning }
        admin: { address: "unix:/run/admin.sock", mode: "0660" }
        tls: { ticket_rotation: 1h, ticket_keys_file: secret }
        listeners:
          - address: 127.0.0.1:8443
            tls:
              certificates: [{ certificate: cert.pem, key: key.pem, ocsp: cert.pem }]
              profile: modern
              protocols: [http/1.1]
              client_certificates:
                mode: request
                ca: cert.pem
                crl: crl.pem
                depth: 1
                issuer: staff
                identifier: [subject_cn]
                roles: [reader]
                prefix: "c:"
              hosts:
                - names: [app.example.com]
                  profile: intermediate
                  client_certificates:
                    mode: request
                    ca: cert.pem
                    crl: crl.pem
                    depth: 2
                    issuer: partners
                    identifier: [san_uri, san_dns]
                    roles: []
                    prefix: "p:"
            public_port: 443
            connections_max: 10
            connections_per_address_max: 5
            handshakes_max: 7
            proxy_protocol: [10.0.0.0/8, "::1", unix]
            handshake_timeout: 1s
            head_timeout: 2s
            body_timeout: 3s
            body_rate_min: 1KiB
            request_timeout: 5m
            idle_timeout: 4s
            tunnel_idle_timeout: 5s
            head_bytes_max: 8KiB
            fields_max: 50
            chunk_extension_bytes_max: 0
            http2: { streams_max: 10, stream_window: 64KiB, glitches_max: 1000 }
            allow_invalid_utf8: true
            underscore_headers: refuse
          - { address: 127.0.0.1:8080, redirect_to_https: 443 }
          - { address: "unix:/run/http.sock", mode: "0660" }
        upstreams:
          app:
            endpoints: [127.0.0.1:5001]
            connect_timeout: 1s
            first_byte_timeout: 2s
            idle_timeout: 3s
            keep_alive: { timeout: 4s, connections_max: 5 }
            exchanges_max: 4
            queue_max: 7
            queue_timeout: 2s
            head_bytes_max: 6KiB
        buffering:
          request_memory_bytes_max: 8KiB
          response_memory_bytes_max: 16KiB
          file_bytes_max: 1MiB
          all_files_bytes_max: 2MiB
          folder: spool
        authentication:
          session:
            cookie_name: own
            domain: example.com
            login_url: https://iam.example.com/auth/login
            secure: true
            idle_timeout: 1h
            lifetime: 2h
            cache_entries_max: 3
            cache_ttl: 4s
          jwt_cache_entries_max: 7
          jwt:
            - issuer: a
              audience: [b, c]
              keys: { jwks_file: keys.json }
              algorithms: [EdDSA]
              clock_skew: 1s
              refresh_interval: 2m
              username_claim: name
              roles_claim: r
              groups_claim: g
              prefix: "a:"
            - { issuer: d, audience: e, keys: { jwks_url: https://d/keys, ca: cert.pem }, prefix: "d:" }
            - { issuer: f, audience: g, keys: { secret: Zx8kQ2vLr0TnWb5yHs1uJd7mCe4gPf9a }, prefix: "f:" }
            - { issuer: h, audience: i, keys: { secret_file: secret }, prefix: "h:" }
            - { keys: identity }
        redis: { url: redis://r:1/2, password: p, timeout: 1s }
        limits:
          few: { rate: 5/minute, burst: 2, key: route, store: redis, on_store_error: deny }
        roles: { reader: [read] }
        identity:
          database: own.db
          issuer: own
          expose_session_token: false
          verify_without_session: 401
          token_lifetime: 5m
          token_audience: me
        security_headers:
          hsts: 365d
          hsts_include_subdomains: true
          hsts_preload: true
          nosniff: true
          frame_options: DENY
          referrer_policy: no-referrer
          content_security_policy: default-src 'self'
          permissions_policy: camera=()
          existing: keep
        routes:
          - name: one
            host: app.example.com
            path: /
            upstream: app
            credentials: [session, certificate]
            require: { scopes: [read] }
            limit: few
            headers: authelia
            forward_credential: true
            preflight: pass
            allow_encoded: ["%2F"]
            body_bytes_max: 1MiB
            buffer_request: true
            buffer_response: true
            request_timeout: 1m
            trailers: { request: [x-checksum], response: [Server-Timing] }
            security_headers:
              hsts: off
              hsts_include_subdomains: false
              hsts_preload: false
              nosniff: false
              frame_options: SAMEORIGIN
              referrer_policy: off
              content_security_policy: off
              permissions_policy: off
              existing: replace
          - { path: /p, upstream: app, public: true }
          - { path: /o, upstream: app, optional: true }
          - { path: /r, upstream: app, rules: [{ methods: [GET], require: { roles: [reader] }, limit: few }] }
        tests:
          - { when: GET https://app.example.com/, as: { scopes: [read], roles: [reader] }, expect: allow }
        """

    @Test func `every declared setting is read, and nothing else is`() {
        let result = load(Self.full)
        #expect(result.problems.map(\.description) == [])
        let read = Set(result.effective.map(\.path.pattern))
        var declared: Set<String> = []
        for declaration in Settings.all {
            switch declaration.summary.shape {
            case .single, .list, .requirement: declared.insert(declaration.pattern)
            case .mapping, .names, .listOfMappings: break
            }
            if declaration.pattern.hasSuffix("keys.secret") { declared.insert(declaration.pattern + "_file") }
        }
        // The word that may stand instead of a mapping is shown where it stands.
        #expect(read.subtracting(declared) == ["authentication.jwt[].keys"])
        #expect(declared.subtracting(read) == [])
    }

    @Test func `no value of the full file is a default`() throws {
        let configuration = try #require(load(Self.full).configuration)
        let listener = configuration.listeners[0]
        let tls = try #require(listener.tls)
        #expect(tls.rules.profile == .modern && tls.certificates[0].ocsp == "cert.pem")
        let own = try #require(tls.rules.clientCertificates)
        #expect(own.mode == .request && own.revocations == "crl.pem" && own.depth == 1 && own.issuer == "staff")
        #expect(own.identifier == [.commonName] && own.roles == [Role("reader")] && own.prefix == "c:")
        let host = try #require(tls.hosts.first)
        #expect(host.names == ["app.example.com"] && host.rules.profile == .intermediate)
        let clients = try #require(host.rules.clientCertificates)
        #expect(clients.mode == .request && clients.depth == 2 && clients.identifier == [.uri, .dns])
        #expect(clients.issuer == "partners" && clients.roles.isEmpty && clients.prefix == "p:")
        #expect(configuration.tickets == .init(rotation: .hours(1), keysPath: "secret"))
        #expect(listener.publicPort == 443)
        #expect(listener.handshakesMax == 7)
        #expect(listener.connectionsMax == 10 && listener.fieldsMax == 50 && listener.headBytesMax == 8192)
        #expect(listener.handshakeTimeout == .seconds(1) && listener.headTimeout == .seconds(2))
        #expect(listener.bodyTimeout == .seconds(3) && listener.idleTimeout == .seconds(4))
        #expect(listener.tunnelIdleTimeout == .seconds(5) && listener.chunkExtensionBytesMax == 0)
        #expect(listener.allowInvalidUTF8 && listener.underscoreHeaders == .refuse)
        let upstream = configuration.upstreams[0]
        #expect(upstream.connectTimeout == .seconds(1) && upstream.firstByteTimeout == .seconds(2))
        #expect(upstream.idleTimeout == .seconds(3) && upstream.keepAliveTimeout == .seconds(4))
        #expect(upstream.keepAliveConnectionsMax == 5 && upstream.headBytesMax == 6144)
        #expect(upstream.exchangesMax == 4 && upstream.queueMax == 7 && upstream.queueTimeout == .seconds(2))
        let buffering = configuration.buffering
        #expect(buffering.requestMemoryBytesMax == 8192 && buffering.responseMemoryBytesMax == 16_384)
        #expect(buffering.fileBytesMax == 1 << 20 && buffering.allFilesBytesMax == 2 << 20)
        #expect(buffering.folder == "spool")
        #expect(configuration.routes[0].bufferRequest && configuration.routes[0].bufferResponse)
        let session = configuration.authentication.session
        #expect(session.idleTimeout == .hours(1) && session.lifetime == .hours(2))
        #expect(session.cacheEntriesMax == 3 && session.cacheTTL == .seconds(4) && session.cookieName == "own")
        let issuer = configuration.authentication.jwt[0]
        #expect(
            issuer.clockSkew == .seconds(1) && issuer.refreshInterval == .minutes(2) && issuer.usernameClaim == "name")
        #expect(
            issuer.rolesClaim == "r" && issuer.groupsClaim == "g" && issuer.prefix == "a:"
                && issuer.algorithms == [.EdDSA])
        #expect(configuration.authentication.jwt.count == 5 && configuration.authentication.jwtCacheEntriesMax == 7)
        let limit = configuration.limits[0]
        #expect(limit.burst == 2 && limit.key == .route && limit.store == .redis && limit.onStoreError == .deny)
        let identity = configuration.identity
        #expect(!identity.exposeSessionToken && identity.verifyWithoutSession == .unauthorized)
        #expect(identity.tokenLifetime == .minutes(5) && identity.tokenAudience == "me" && identity.issuer == "own")
        #expect(configuration.redis?.database == 2 && configuration.redis?.timeout == .seconds(1))
        #expect(configuration.user == .init(user: "gateway", group: "gateway"))
        #expect(configuration.memoryBytesMax == 64 << 20)
        #expect(configuration.drainDelay == .seconds(1) && configuration.stopTimeout == .seconds(10))
    }

    @Test func `each key of the full file, misspelt, is refused`() {
        let lines = Self.full.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        for (number, line) in lines.enumerated() {
            let parts = line.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            let key = parts[0].split(separator: " ").last.map(String.init) ?? ""
            let isNameOfTheFile = ["app", "few"].contains(key)
            guard parts.count == 2, !isNameOfTheFile,
                key.utf8.allSatisfy({ Bytes.isLetterOrDigit($0) || $0 == UInt8(ascii: "_") })
            else { continue }
            var changed = lines
            changed[number] = line.replacing("\(key):", with: "\(key)x:", maxReplacements: 1)
            let result = load(changed.joined(separator: "\n"))
            #expect(result.problems.contains { $0.message == "the key '\(key)x' is unknown" }, "\(line)")
        }
    }
}

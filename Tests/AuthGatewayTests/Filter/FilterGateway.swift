import EventLoop
import GatewayConfig
import HTTPModel
import HTTPTypes
import IdentityModel
import IdentityService
import JOSE
import ProxyCore
import RateLimit
import Synchronization
import Telemetry
import TestSupport
import Testing

@testable import AuthGateway

/// Sessions that a test writes down; it can fail, and it can let answers wait.
final class FakeSessions: SessionAuthority {
    private struct State {
        var sessions: [SessionKey: Session] = [:]
        var isAway = false
        var isHeld = false
        var held: [CheckedContinuation<Void, Never>] = []
        var askedCount = 0
    }
    private let state = Mutex(State())

    var askedCount: Int { state.withLock(\.askedCount) }
    var heldCount: Int { state.withLock(\.held.count) }

    func set(_ session: Session?, for key: SessionKey) { state.withLock { $0.sessions[key] = session } }

    func setAway(_ isAway: Bool) { state.withLock { $0.isAway = isAway } }

    func hold() { state.withLock { $0.isHeld = true } }

    /// Lets what waits go on; what comes later waits again if `andHold`.
    func release(andHold isHeld: Bool = false) {
        let held = state.withLock { state in
            defer { state.held = [] }
            state.isHeld = isHeld
            return state.held
        }
        for continuation in held { continuation.resume() }
    }

    /// Answers what was true when it was asked, as a store does whose answer is slow.
    func session(for key: SessionKey, now: Int64) async throws(StoreError) -> Session? {
        let answer = state.withLock { state in
            state.askedCount += 1
            return state.isAway ? nil : Optional.some(state.sessions[key])
        }
        await withCheckedContinuation { continuation in
            let isHeld = state.withLock { state in
                if state.isHeld { state.held.append(continuation) }
                return state.isHeld
            }
            if !isHeld { continuation.resume() }
        }
        guard let answer else { throw StoreError("away") }
        return answer
    }
}

/// A whole filter on a worker, with a snapshot of a small file, in front of an endpoint that notes what it gets.
final class FilterGateway: @unchecked Sendable {
    // The worker and its filter belong to the worker's thread once it runs.
    private let worker: Worker
    private let filter: GatewayFilter
    private let socket: ListeningSocket
    private var thread: LoopThread?
    private let upstream: FakeUpstream
    let seen: Seen
    let sessions = FakeSessions()
    let revocations = RevocationTable()
    let key: SigningKey
    let port: UInt16

    final class Seen: Sendable {
        private let messages = Mutex<[Message]>([])
        func add(_ message: Message) { messages.withLock { $0.append(message) } }
        var all: [Message] { messages.withLock { $0 } }
    }

    private struct Nothing: RequestHandler {
        func respond(to request: Request) async -> Response { Response(head: HTTPResponse(status: .ok)) }
    }

    static let issuer = "https://issuer.test"

    private static let file = """
        listeners: [{ address: 127.0.0.1:8080 }]
        upstreams: { app: { endpoints: [127.0.0.1:5001] } }
        authentication:
          session: { domain: example.test }
          jwt:
            - { issuer: https://issuer.test, audience: app, prefix: "partner:", keys: { jwks_url: http://127.0.0.1:1/k } }
        roles: { clerk: [books:read] }
        limits: { few: { rate: 2/minute, key: subject } }
        routes:
          - { host: app.example.test, path: /public, upstream: app, public: true }
          - { host: app.example.test, path: /optional, upstream: app, optional: true }
          - { host: app.example.test, path: /stream, upstream: app, require: { authenticated: true } }
          - { host: app.example.test, path: /quick, upstream: app, public: true, request_timeout: 300ms }
          - { host: app.example.test, path: /books, upstream: app, require: { scopes: [books:read] } }
          - { host: app.example.test, path: /limited, upstream: app, require: { authenticated: true }, limit: few }
          - { host: app.example.test, path: /kept, upstream: app, require: { authenticated: true }, forward_credential: true }
        """

    /// `doubtMax`: also watches streams, and gives the store as many nanoseconds to say whether their sessions live.
    init(doubtMax: UInt64? = nil) throws {
        let loaded = ConfigurationLoader.load(text: Self.file)
        let configuration = try #require(loaded.configuration, "\(loaded.problems)")
        let check = RouteCheck(loaded, file: "gateway.yaml")
        let routes = try #require(check.compiled, "\(check.problems)")
        key = try SigningKey.generate()
        let seen = Seen()
        self.seen = seen
        upstream = try FakeUpstream { request in
            seen.add(request)
            if request.startLine.contains("silent") { return "" }
            if request.startLine.contains("/stream") || request.startLine.contains("endless") {
                return "HTTP/1.1 200 OK\r\n\r\nbeginning"
            }
            return "HTTP/1.1 200 OK\r\nSet-Cookie: gateway_session=forged; Path=/\r\nSet-Cookie: own=1\r\n"
                + "Content-Length: 2\r\n\r\nok"
        }
        let address = try #require(NetworkAddress(numericHost: "127.0.0.1", port: 0))
        socket = try ListeningSocket(address)
        port = socket.address.port
        let second: UInt64 = 1_000_000_000
        let settings = ListenerSettings(
            name: "test", tls: nil, port: port, connectionsMax: 400, handshakeTimeout: 5 * second,
            headTimeout: 5 * second, bodyTimeout: 5 * second, idleTimeout: 5 * second, tunnelIdleTimeout: 5 * second,
            headLimits: HeadLimits(bytesMax: 16_384, fieldsMax: 100), chunkExtensionBytesMax: 64, filterIndex: 0)
        let issuer = try #require(configuration.authentication.jwt.first)
        let authenticator = TokenAuthenticator(
            issuer: issuer,
            verifier: try TokenVerifier(
                issuer: issuer.issuer, audiences: issuer.audiences, algorithms: [.es256],
                keys: .publicKeys(JWKSet([JWK(key: key.publicKey, keyID: key.keyID)]))),
            remoteKeys: nil, prefix: SourcePrefix(issuer.prefix, others: [nil]), roleScopes: configuration.roles)
        let limit = try #require(configuration.limits.first)
        let seed = RateLimitSeed(sharedSecret: [1, 2, 3].span)
        let keyspace = RateLimitKeyspace(rule: limit.name, kind: .subject, seed: seed)
        let snapshot = GatewaySnapshot(
            configuration: configuration, table: routes.table, routes: routes.routes, listenerSettings: [settings],
            authenticators: [authenticator],
            limits: [
                GatewaySnapshot.Limit(
                    name: limit.name,
                    rule: try #require(RateLimitRule(count: limit.count, period: limit.period, burst: limit.burst)),
                    policy: RateLimitPolicy(name: limit.name, count: limit.count, window: limit.period),
                    keyspace: keyspace, sharedKeyspace: keyspace, key: limit.key, store: limit.store,
                    onStoreError: limit.onStoreError)
            ],
            requestBuffering: nil, responseBuffering: nil,
            sessionPrefix: SourcePrefix(nil, others: [issuer.prefix]),
            sessionCookie: try #require(SessionCookieSettings(domain: "example.test", isSecure: false)),
            identity: HandlerUpstream(Nothing()),
            assertions: AssertionSigner(key: try SigningKey.generate(), issuer: "https://iam.example"),
            sessions: sessions, endpoints: [], upstreamPlaces: [],
            redisAddresses: [])
        let metrics = MetricRegistry()
        let services = GatewayServices(
            revocations: revocations, memoryLimits: MemoryRateLimitStore(), accessLog: nil, metrics: metrics)
        var made: GatewayFilter?
        worker = try Worker(index: 0, counters: WorkerCounters(metrics)) { loop in
            let filter = GatewayFilter(services: services, loop: loop)
            made = filter
            return filter
        }
        let endpoint = UpstreamPool.EndpointAddresses(
            name: "app", addresses: NetworkAddress(numericHost: "127.0.0.1", port: upstream.port).map { [$0] } ?? [])
        filter = try #require(made)
        if let doubtMax { filter.watchOpenExchanges(of: worker, doubtMax: doubtMax) }
        filter.install(
            WorkerSnapshot(
                shared: snapshot,
                pools: [
                    UpstreamPool(
                        snapshot.upstreamSettings[0], endpoints: [endpoint],
                        counters: UpstreamCounters(metrics, upstream: "app"), worker: worker)
                ],
                tokens: TokenCache([authenticator], entriesMax: 100), redis: nil,
                routeCounters: (configuration.routes.map(\.name) + ["-"]).map { RouteCounters(metrics, route: $0) }))
        try worker.listen(on: socket.number, settings: settings)
        thread = try LoopThread(name: "test-worker") { [self] in worker.loop.run() }
    }

    /// Connections that are open, and look-ups of sessions that are under way.
    var underWay: (connections: Int, lookUps: Int) {
        let gate = Gate()
        let counts = Mutex((connections: 0, lookUps: 0))
        let box = Box(counts)
        worker.loop.mailbox.post { [self] _ in
            box.value.withLock { $0 = (worker.connectionCount, filter.sessionLookUps) }
            gate.open()
        }
        gate.wait()
        return box.value.withLock { $0 }
    }

    private final class Box<Value: Sendable>: Sendable {
        let value: Mutex<Value>
        init(_ value: consuming Mutex<Value>) { self.value = value }
    }

    func stop() {
        sessions.release()
        worker.loop.mailbox.post { $0.stop() }
        thread?.join()
        upstream.stop()
    }

    /// What the endpoint got last.
    var lastSeen: Message? { seen.all.last }
    var seenCount: Int { seen.all.count }

    static func text(_ path: String, _ fields: [String] = [], method: String = "GET") -> String {
        "\(method) \(path) HTTP/1.1\r\nHost: app.example.test\r\n" + fields.map { $0 + "\r\n" }.joined() + "\r\n"
    }

    /// Asks on a connection of its own.
    func ask(_ path: String, _ fields: [String] = [], method: String = "GET") throws -> Message {
        let client = try Peer(port: port)
        client.send(Self.text(path, fields, method: method))
        return client.readMessage()
    }

    /// A bearer field with a token of the issuer.
    func bearer(_ claims: [(String, JSONValue)] = [], life: Int64 = 600) throws -> String {
        let now = currentEpochSeconds()
        let usual: [(String, JSONValue)] = [
            ("iss", .string(Self.issuer)), ("aud", "app"), ("sub", "ann"), ("iat", .integer(now - 700)),
            ("exp", .integer(now + life)),
        ]
        let all = usual.filter { known in !claims.contains { $0.0 == known.0 } } + claims
        return "Authorization: Bearer " + (try TokenSigner(key: key).sign(JSONObject(all)))
    }

    /// A value as our cookies have it, and the key it is stored under.
    static func cookie(_ letter: String) throws -> (field: String, key: SessionKey) {
        let value = String(repeating: letter, count: 43)
        let found = GatewayFilter.sessionKey(value.bytes.span)
        let key = try #require(found)
        return ("Cookie: gateway_session=\(value)", key)
    }

    /// Signs somebody in; the cookie's field.
    @discardableResult
    func signIn(_ letter: String = "A", username: String = "bob", scopes: [String] = []) throws -> (
        field: String, key: SessionKey
    ) {
        let cookie = try Self.cookie(letter)
        let now = currentEpochSeconds()
        sessions.set(
            Session(
                key: cookie.key, claims: try Fixture.claims(username: username, scopes: scopes), userID: 1,
                expiresAt: now + 100, idleExpiresAt: now + 100), for: cookie.key)
        return cookie
    }
}

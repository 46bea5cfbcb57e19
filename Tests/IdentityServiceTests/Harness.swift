import FoundationEssentials
import HTTPModel
import HTTPTypes
import IdentityModel
import JOSE
import Logging
import Passwords
import Storage
import Synchronization
import Testing

@testable import IdentityService

/// A service with its own database, clock, throttle and log.
final class Harness: Sendable {
    let folder: String
    let database: Database
    let hasher: PasswordHasher
    let keys: IdentityKeys
    let clock = TestClock()
    let throttle: ExactThrottle
    let revocations = RevocationTable()
    let log = CapturedLog()
    let handler: IdentityHandler

    static let password = "Correct-Horse-7"

    init(_ adjust: (inout IdentitySettings) -> Void = { _ in }, limits: PasswordHasher.Limits = .init()) async throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "identity-tests-\(UUID().uuidString)")
        try FileManager.default.createDirectory(
            at: folder, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o700])
        self.folder = folder.path
        database = try Database(path: folder.path + "/gateway.db")
        let cheap = try #require(Argon2Parameters(memoryKiB: 64, passes: 1, lanes: 1))
        hasher = try PasswordHasher(parameters: cheap, limits: limits)
        keys = try await IdentityKeys.load(from: database, now: 1)
        throttle = ExactThrottle(clock)
        let cookie = try #require(SessionCookieSettings(isSecure: true))
        var settings = IdentitySettings(
            issuer: "https://iam.example.com", roleScopes: try Harness.roleScopes(), cookie: cookie)
        adjust(&settings)
        var logger = Logger(label: "test", factory: { [log] _ in log })
        logger.logLevel = .trace
        handler = IdentityHandler(
            settings: settings, database: database, keys: keys, hasher: hasher, throttle: throttle,
            revocations: revocations, logger: logger, now: { [clock] in clock.now })
    }

    deinit {
        database.close()
        try? FileManager.default.removeItem(atPath: folder)
    }

    static func roleScopes() throws -> [Role: Set<Scope>] {
        let (reader, writer) = (try #require(Role("reader")), try #require(Role("writer")))
        let (read, write) = (try #require(Scope("reports:read")), try #require(Scope("reports:*")))
        return [reader: [read], writer: [read, write]]
    }

    @discardableResult
    func addUser(_ name: String = "john", roles: [String] = ["reader"], password: String = Harness.password)
        async throws -> User
    {
        let (username, secret) = (try #require(LoginName(name)), try #require(Password(password)))
        let hash = try await hasher.hash(secret)
        let new = try #require(
            NewUser(
                username: username, email: LoginName(name + "@example.com"), displayName: "<\(name)>",
                passwordHash: Secret(hash), roles: Set(roles.compactMap(Role.init))))
        return try await Directory(database).create(new, now: clock.now).get()
    }

    /// Sends a request over TLS to `iam.example.com`.
    func send(
        _ method: HTTPRequest.Method, _ path: String, fields: [(String, String)] = [], body: String = "",
        address: String = "192.0.2.1", host: String = "iam.example.com"
    ) async throws -> Answer {
        var head = HTTPRequest(method: method, scheme: "https", authority: host, path: path)
        for (name, value) in fields {
            head.headerFields.append(HTTPField(name: try #require(HTTPField.Name(name)), value: value))
        }
        let request = Request(
            head: head, body: Array(body.utf8), remoteAddress: address, isSecure: true, requestID: "req-1")
        return Answer(await handler.respond(to: request))
    }

    func apiLogin(
        _ username: String = "john", _ password: String = Harness.password, fields: [(String, String)] = [],
        address: String = "192.0.2.1"
    ) async throws -> Answer {
        let body: JSONObject = ["username": .string(username), "password": .string(password)]
        return try await send(
            .post, "/api/auth/login", fields: [("Content-Type", "application/json")] + fields,
            body: String(decoding: body.encoded(), as: UTF8.self), address: address)
    }

    /// The cookie pair of a fresh session.
    func signedIn(_ username: String = "john") async throws -> String {
        let answer = try await apiLogin(username)
        #expect(answer.status == 200)
        clock.advance(by: 60)  // so that the throttle is not what later attempts meet
        return try #require(answer.cookiePair(named: "__Host-gateway_session"))
    }

    func verify(_ cookie: String?) async throws -> Answer {
        try await send(.get, "/api/auth/verify", fields: cookie.map { [("Cookie", $0)] } ?? [])
    }

    /// Opens a form; returns its hidden field and the browser's cookie pair.
    func openForm(_ path: String = "/auth/login", cookie: String? = nil) async throws -> (csrf: String, cookie: String)
    {
        let page = try await send(.get, path, fields: cookie.map { [("Cookie", $0)] } ?? [])
        return (try #require(page.hiddenField("csrf")), try #require(page.cookiePair(named: "__Host-gateway_login")))
    }

    func submit(
        _ form: [(String, String)], to path: String = "/auth/login", fields: [(String, String)] = [],
        address: String = "192.0.2.1"
    ) async throws -> Answer {
        let body = form.map { "\(PercentEncoding.encode($0.0))=\(PercentEncoding.encode($0.1))" }.joined(separator: "&")
        return try await send(
            .post, path, fields: [("Content-Type", "application/x-www-form-urlencoded")] + fields, body: body,
            address: address)
    }
}

/// A response, with what tests look at.
struct Answer {
    let response: Response

    init(_ response: Response) { self.response = response }

    var status: Int { response.head.status.code }
    var text: String { String(decoding: response.body, as: UTF8.self) }
    var json: JSONValue? { try? JSONValue(parsing: response.body) }
    var cookies: [String] { response.head.headerFields[values: .setCookie] }

    subscript(name: String) -> String? { HTTPField.Name(name).flatMap { response.head.headerFields[$0] } }

    /// `name=value` of the cookie that the response sets.
    func cookiePair(named name: String) -> String? {
        cookies.first { $0.hasPrefix(name + "=") }?.split(separator: ";").first.map(String.init)
    }

    func hiddenField(_ name: String) -> String? {
        guard let start = text.firstRange(of: "name=\"\(name)\" type=\"hidden\" value=\"") else { return nil }
        return text[start.upperBound...].split(separator: "\"", omittingEmptySubsequences: false).first.map(String.init)
    }
}

final class TestClock: Sendable {
    private let time = Mutex<Int64>(1_800_000_000)
    var now: Int64 { time.withLock { $0 } }
    func advance(by seconds: Int64) { time.withLock { $0 += seconds } }
}

/// Five attempts in each window of sixty seconds, counted exactly.
final class ExactThrottle: SignInThrottle {
    private let attempts = Mutex<[SignInThrottleKey: [Int64]]>([:])
    private let clock: TestClock
    private let failure = Mutex<StoreError?>(nil)

    init(_ clock: TestClock) { self.clock = clock }

    func fail(with error: StoreError) { failure.withLock { $0 = error } }

    func take(_ key: SignInThrottleKey) async throws(StoreError) -> SignInThrottleAnswer {
        if let error = failure.withLock({ $0 }) { throw error }
        let now = clock.now
        return attempts.withLock { attempts in
            let recent = attempts[key, default: []].filter { $0 > now - 60 }
            guard recent.count < 5 else { return .limited(retryAfter: .seconds(60 - (now - recent[0]))) }
            attempts[key] = recent + [now]
            return .allowed
        }
    }

    var keys: Set<SignInThrottleKey> { attempts.withLock { Set($0.keys) } }
}

/// Everything that was logged, as text.
final class CapturedLog: LogHandler, Sendable {
    private let content = Mutex<[String]>([])
    var lines: [String] { content.withLock { $0 } }

    func log(event: LogEvent) {
        let fields = (event.metadata ?? [:]).sorted { $0.key < $1.key }.map { " \($0.key)=\($0.value)" }
        content.withLock { $0.append(event.message.description + fields.joined()) }
    }

    subscript(metadataKey _: String) -> Logger.Metadata.Value? {
        get { nil }
        set {}
    }
    var metadata: Logger.Metadata {
        get { [:] }
        set {}
    }
    var logLevel: Logger.Level {
        get { .trace }
        set {}
    }
}

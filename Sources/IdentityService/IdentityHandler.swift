public import HTTPModel
internal import HTTPTypes
public import IdentityModel
internal import JOSE
public import Logging
public import Passwords
public import Storage

/// The identity service: pages and API to sign in and out, and the key set. It knows no sockets; whoever has a
/// request hands it over, and gets the response.
public final class IdentityHandler: RequestHandler {
    let settings: IdentitySettings
    let database: Database
    let directory: Directory
    let hasher: PasswordHasher
    let signIn: SignIn
    let forms: FormTokens
    let revocations: RevocationTable
    let logger: Logger
    let now: @Sendable () -> Int64
    private let keySet: [UInt8]

    /// The sessions, for the workers to ask.
    public let sessions: SessionStore

    /// Puts the parts together; reads nothing and starts nothing. For another configuration make another one with the
    /// same database, hasher and revocations. `now` is in seconds since the epoch.
    public init(
        settings: IdentitySettings, database: Database, keys: IdentityKeys, hasher: PasswordHasher,
        throttle: any SignInThrottle, revocations: RevocationTable, logger: Logger,
        now: @escaping @Sendable () -> Int64 = systemTime
    ) {
        self.settings = settings
        self.database = database
        self.hasher = hasher
        self.revocations = revocations
        self.logger = logger
        self.now = now
        directory = Directory(database)
        sessions = SessionStore(
            database,
            settings: SessionStore.Settings(
                issuer: settings.issuer, roleScopes: settings.roleScopes, idleTimeout: settings.idleTimeout,
                lifetime: settings.lifetime))
        signIn = SignIn(
            directory: directory, sessions: sessions, hasher: hasher, throttle: throttle, revocations: revocations,
            logger: logger)
        forms = FormTokens(key: keys.forms)
        keySet = keys.published.encoded()
    }

    /// Answers on exactly the service's own paths; 404 elsewhere, 405 for a method that a path does not have.
    public func respond(to request: Request) async -> Response {
        guard request.body.count <= IdentityHandler.bodyBytesMax else {
            return Responses.error(.contentTooLarge, "Body too large")
        }
        let (path, query) = split(request.head.path ?? "")
        let response = await respond(to: request, path: path, query: query)
        guard request.head.method == .head else { return response }
        return Response(head: response.head)
    }

    private func respond(to request: Request, path: Substring, query: Substring) async -> Response {
        let isRead = request.head.method == .get || request.head.method == .head
        let isPost = request.head.method == .post
        switch path {
        case "/auth/login" where isRead: return await signInPage(request, query)
        case "/auth/login" where isPost: return await submitSignIn(request)
        case "/auth/logout" where isRead: return signOutPage(request, query)
        case "/auth/logout" where isPost: return await submitSignOut(request)
        case "/auth/login", "/auth/logout": return methodNotAllowed("GET, HEAD, POST")
        case "/api/auth/login": return isPost ? await apiSignIn(request) : methodNotAllowed("POST")
        case "/api/auth/logout": return isPost ? await apiSignOut(request) : methodNotAllowed("POST")
        case "/api/auth/verify": return isRead ? await apiVerify(request) : methodNotAllowed("GET, HEAD")
        case "/healthz": return isRead ? await health() : methodNotAllowed("GET, HEAD")
        case "/.well-known/jwks.json": return isRead ? publishedKeys() : methodNotAllowed("GET, HEAD")
        default: return Responses.error(.notFound, "Not found")
        }
    }

    private func split(_ target: String) -> (path: Substring, query: Substring) {
        guard let mark = target.firstIndex(of: "?") else { return (target[...], "") }
        return (target[..<mark], target[target.index(after: mark)...])
    }

    private func methodNotAllowed(_ allowed: String) -> Response {
        var response = Responses.error(.methodNotAllowed, "Method not allowed")
        response.head.headerFields[.allow] = allowed
        return response
    }

    private func health() async -> Response {
        do throws(StoreError) {
            try await database.probe()
            return Responses.json(
                .ok, ["status": "ok", "service": "IAM", "database": "connected", "version": .string(Self.version)])
        } catch {
            logger.error("health.failed", metadata: ["error": "\(error)"])
            return Responses.json(
                .serviceUnavailable,
                ["status": "error", "service": "IAM", "database": "disconnected", "version": .string(Self.version)])
        }
    }

    private func publishedKeys() -> Response {
        var head = HTTPResponse(status: .ok)
        head.headerFields[.contentType] = "application/jwk-set+json"
        head.headerFields[.cacheControl] = "public, max-age=300"
        head.headerFields[.xContentTypeOptions] = "nosniff"
        return Response(head: head, body: keySet)
    }

    /// The version of the API's shapes.
    static let version = "1.1.0"
    /// A name, a password and a return path, each byte escaped, are less than half of it.
    static let bodyBytesMax = 16 << 10
}

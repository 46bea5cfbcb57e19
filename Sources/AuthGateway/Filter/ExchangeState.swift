import EventLoop
import HTTPModel
import IdentityModel
import ProxyCore

/// What the filter knows of one exchange; made once for each `Exchange` and reused with it.
final class ExchangeState {
    /// How far the exchange has come.
    enum Stage {
        case beforeAuthentication
        case authenticate
        case authorize
        case afterAuthorization
        case forward
    }

    var stage = Stage.beforeAuthentication
    /// The snapshot that judges this exchange to its end.
    var snapshot: WorkerSnapshot?
    var route: CompiledRoute?
    /// Who a client certificate names for the request's host; `nil` where none is asked for.
    var certificateSource: CertificateAuthenticator?
    var rule: Int?
    /// The next limit of the stage's list.
    var limitIndex = 0
    var credential: Credential?
    var credentialState = CredentialState.absent
    /// The exact reason why a token was refused, for the log.
    var refusal: CredentialRefusal?
    /// A session cookie came that is no session: it is cleared with the answer.
    var clearsCookie = false
    /// The revocation table's value that the session is known to be good for.
    var watchedGeneration: UInt64 = 0
    /// The store is being asked whether the session still lives.
    var isBeingWatched = false
    /// How long the exchange may last by the listener's settings, in nanoseconds; `nil` for no bound.
    var listenerTimeout: UInt64?
    /// When the whole exchange must be over.
    var deadline: MonotonicInstant?
    /// The answer is a stream of events without end (`text/event-stream`).
    var isEventStream = false
    /// Since when nobody could say whether the session still lives.
    var doubtedSince: MonotonicInstant?
    var isPreflight = false
    var isNavigation = false
    /// Why the exchange was not forwarded, for the log; `allow` otherwise.
    var decision: StaticString = "allow"
    var reason: String?
    /// For pages and sign-in: the host as the client wrote it, lower case, without port.
    var host = ByteBuffer(capacity: 64)
    /// Whether the client speaks TLS, and the port it asked: the socket's, or what a trusted peer says.
    var isSecure = false
    var port: UInt16 = 0
    /// Where a trusted peer says which host the client asked for: within the head's bytes.
    var forwardedHost: ByteRange?
    /// Path without query, for the log.
    var pathCount = 0
    var method = ByteBuffer(capacity: 16)

    func reset(_ snapshot: WorkerSnapshot) {
        stage = .beforeAuthentication
        self.snapshot = snapshot
        route = nil
        certificateSource = nil
        rule = nil
        limitIndex = 0
        credential = nil
        credentialState = .absent
        refusal = nil
        clearsCookie = false
        watchedGeneration = 0
        isBeingWatched = false
        doubtedSince = nil
        listenerTimeout = nil
        deadline = nil
        isEventStream = false
        isPreflight = false
        isNavigation = false
        decision = "allow"
        reason = nil
        host.removeAll()
        isSecure = false
        port = 0
        forwardedHost = nil
        pathCount = 0
        method.removeAll()
    }
}

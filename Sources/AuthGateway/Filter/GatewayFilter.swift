import EventLoop
import GatewayConfig
import HTTPModel
import IdentityModel
import JOSE
import ProxyCore
import RateLimit
import Telemetry

/// Decides each request of one worker: match route → limit → authenticate → authorize → limit → rewrite head.
///
/// The stages are in extensions: `+Routing`, `+Authentication`, `+Limits`, `+Forwarding`, `+Answers`, `+Log`. A stage
/// that must wait answers `suspend` and calls `resume` when it has what it waited for.
final class GatewayFilter: RequestFilter {
    let services: GatewayServices
    let loop: EventLoop
    let counters: FilterCounters
    /// What new exchanges are judged by. `nil` only before the worker's first snapshot, when nothing is accepted yet.
    var current: WorkerSnapshot?
    var normalized = NormalizedPath()
    var hostName = HostName()
    var sessions: BoundedCache<SessionKey, CachedSession>
    var sessionLookUps = 0
    var line = AccessLogLine()
    var logLines = ByteBuffer(capacity: 65_536)
    var isLogFlushScheduled = false
    /// Made once: a closure for each turn would be an allocation for each turn.
    private(set) lazy var flushAtEndOfTurn: () -> Void = { [unowned self] in flushLog() }
    /// The value of a limit's field, while it is written.
    var limitItem: [UInt8] = []
    var requestIDs = RequestIdentifiers()
    var openExchangeWatch: Ticker?

    init(services: GatewayServices, loop: EventLoop) {
        self.services = services
        self.loop = loop
        counters = FilterCounters(services.metrics)
        sessions = BoundedCache(entriesMax: 10_000)
    }

    /// Takes over a new snapshot for exchanges that begin from now on.
    func install(_ snapshot: WorkerSnapshot) {
        current?.pools.forEach { pool in
            if !snapshot.pools.contains(where: { $0 === pool }) { pool.retire() }
        }
        current = snapshot
        sessions = BoundedCache(entriesMax: snapshot.shared.configuration.authentication.session.cacheEntriesMax)
    }

    func makeExchangeState() -> AnyObject { ExchangeState() }

    func decide(_ exchange: Exchange) -> Verdict {
        guard let current else { return .respond(LocalResponse(status: 503)) }
        let state = exchange.gatewayState
        state.reset(current)
        exchange.clientAddress = exchange.peer
        let snapshot = current.shared
        if let refusal = begin(exchange, state, snapshot) ?? shed(exchange, state) ?? route(exchange, state, snapshot) {
            return .respond(refusal)
        }
        return run(exchange, state)
    }

    /// Goes through the stages from where the exchange stands.
    func run(_ exchange: Exchange, _ state: ExchangeState) -> Verdict {
        guard let route = state.route, let snapshot = state.snapshot else {
            return .respond(refuse(exchange, state, status: 500, reason: "no_route"))
        }
        while true {
            switch state.stage {
            case .beforeAuthentication:
                if route.isLimited {
                    let list = route.limitsBeforeAuthentication(rule: state.rule)
                    if let verdict = spend(list, exchange, state) { return verdict }
                }
                state.stage = .authenticate
                state.limitIndex = 0
            case .authenticate:
                if let verdict = authenticate(exchange, state, route) { return verdict }
                state.stage = .authorize
            case .authorize:
                let decision = AuthGateway.decide(
                    route: route, rule: state.rule, claims: state.credential?.claims,
                    credential: state.credentialState, isPreflight: state.isPreflight)
                guard case .allow = decision else { return .respond(answer(to: decision, exchange, state)) }
                counters.allowed.add()
                state.stage = .afterAuthorization
            case .afterAuthorization:
                if route.isLimited {
                    let list = route.limitsAfterAuthentication(rule: state.rule)
                    if let verdict = spend(list, exchange, state) { return verdict }
                }
                state.stage = .forward
            case .forward:
                return forward(exchange, state, route, snapshot)
            }
        }
    }

    /// What the exchange is called; named when first asked for.
    func requestID(_ exchange: Exchange) -> RequestIdentifier {
        if let identifier = exchange.requestID { return identifier }
        let identifier = requestIDs.next()
        exchange.requestID = identifier
        return identifier
    }

    /// Goes on with an exchange whose answer has come; ignored when it has ended meanwhile.
    func resume(_ exchange: Exchange, generation: UInt64) {
        guard exchange.generation == generation else { return }
        exchange.proceed(run(exchange, exchange.gatewayState), generation: generation)
    }
}

extension Exchange {
    /// The filter's own data; made by `GatewayFilter.makeExchangeState`.
    var gatewayState: ExchangeState {
        guard let state = state as? ExchangeState else { preconditionFailure("another filter's exchange") }
        return state
    }
}

import EventLoop
import GatewayConfig
import IdentityModel
import IdentityService
import Logging
import Outbound
import Passwords
import ProxyCore
import RateLimit
import Storage
import Synchronization
import Telemetry

/// What the process opens once and keeps over all configurations. Every member may be used from any thread.
struct ProcessResources: Sendable {
    let database: Database
    let identityKeys: IdentityKeys
    let hasher: PasswordHasher
    let signInThrottle: MemorySignInThrottle
    let revocations: RevocationTable
    let limitSeed: RateLimitSeed
    let memoryLimits: MemoryRateLimitStore
    let remoteKeys: RemoteKeySets
    let bodyFiles: BodyFiles
    let upstreamPlaces: UpstreamPlaceTable
    /// Where files may be made that nobody needs after a restart.
    let temporaryFolder: String
    let metrics: MetricRegistry
    let logger: Logger
}

/// Counts attempts to sign in, in memory: five a minute for each address and each account.
final class MemorySignInThrottle: SignInThrottle {
    private let store: MemoryRateLimitStore
    private let rule: RateLimitRule
    private let addresses: RateLimitKeyspace
    private let accounts: RateLimitKeyspace

    /// Keys that it knows now.
    var entryCount: Int { store.entryCount }

    init(seed: RateLimitSeed, entriesMax: Int = 100_000) {
        guard let rule = RateLimitRule(count: 5, period: .seconds(60), burst: 5) else {
            preconditionFailure("five a minute is a rule")
        }
        self.rule = rule
        store = MemoryRateLimitStore(entriesMax: entriesMax)
        addresses = RateLimitKeyspace(rule: "sign-in", kind: .address, seed: seed)
        accounts = RateLimitKeyspace(rule: "sign-in", kind: .subject, seed: seed)
    }

    func take(_ key: SignInThrottleKey) async throws(StoreError) -> SignInThrottleAnswer {
        let key =
            switch key {
            case .address(let text): addresses.key(Array(text.utf8).span)
            case .account(let name): accounts.key(Array(name.utf8).span)
            }
        switch store.take(rule, key: key, now: .current()) {
        case .allowed: return .allowed
        case .limited(let retryAfter, _): return .limited(retryAfter: retryAfter)
        }
    }
}

/// The places of upstreams that count their exchanges. They outlive a snapshot: what is under way when the next one comes
/// into force has its places still, for as long as the upstream has the same endpoints.
final class UpstreamPlaceTable: Sendable {
    /// Known as long as a snapshot or an exchange knows them.
    private struct Known: Sendable { weak var places: UpstreamPlaces? }

    private let table = Mutex<[String: Known]>([:])

    /// `nil`: the upstream has no bound. The bounds are put in force by `use`, when the snapshot is.
    func places(for upstream: GatewayConfiguration.Upstream) -> UpstreamPlaces? {
        guard let bounds = UpstreamPlaces.Bounds(upstream) else { return nil }
        let names = upstream.endpoints.map(\.text)
        return table.withLock { table in
            table = table.filter { $0.value.places != nil }
            if let places = table[upstream.name]?.places, places.endpointNames == names { return places }
            let places = UpstreamPlaces(bounds, endpointNames: names)
            table[upstream.name] = Known(places: places)
            return places
        }
    }
}

extension UpstreamPlaces.Bounds {
    /// `nil`: the upstream has none.
    init?(_ upstream: GatewayConfiguration.Upstream) {
        guard let exchangesMax = upstream.exchangesMax else { return nil }
        self.init(exchangesMax: exchangesMax, queueMax: upstream.queueMax)
    }
}

/// The key sets of the JWKS URLs in use, kept over reloads: the last good keys of a URL stay while its address does.
final class RemoteKeySets: Sendable {
    private let fetcher: HTTPFetcher
    private let sets = Mutex<[Source: RemoteKeySet]>([:])
    private let states = Mutex<[Source: RemoteKeySet.State]>([:])

    private struct Source: Hashable {
        let url: String
        let authorities: String?
        let refreshInterval: Duration
    }

    init(fetcher: HTTPFetcher) { self.fetcher = fetcher }

    func keySet(for url: String, authorities: String?, refreshInterval: Duration) -> RemoteKeySet {
        let source = Source(url: url, authorities: authorities, refreshInterval: refreshInterval)
        return sets.withLock { sets in
            if let set = sets[source] { return set }
            let set = RemoteKeySet(
                url: url, authorities: authorities, refreshInterval: refreshInterval, fetcher: fetcher)
            sets[source] = set
            return set
        }
    }

    /// Lets go of the sets that the configuration does not name any more: nothing fetches them from now on.
    func keep(onlyOf configuration: GatewayConfiguration) {
        let wanted = Set(
            configuration.authentication.jwt.compactMap { issuer -> Source? in
                guard case .url(let url, let authorities) = issuer.keys else { return nil }
                return Source(url: url, authorities: authorities, refreshInterval: issuer.refreshInterval)
            })
        sets.withLock { $0 = $0.filter { wanted.contains($0.key) } }
        states.withLock { $0 = $0.filter { wanted.contains($0.key) } }
    }

    /// Begins the fetches that are due and logs what changed; called about once a second, returns at once.
    func poll(logger: Logger) {
        for (source, set) in sets.withLock({ $0 }) {
            set.poll(at: .monotonic)
            let state = set.state
            let isNew = states.withLock { $0.updateValue(state, forKey: source) != state }
            guard isNew else { continue }
            switch state {
            case .waiting: continue
            case .current: logger.notice("keys.current", metadata: ["url": "\(source.url)"])
            case .degraded(let reason):
                logger.warning("keys.degraded", metadata: ["url": "\(source.url)", "reason": "\(reason)"])
            }
        }
    }
}

extension Duration {
    /// The monotonic clock, from an arbitrary start.
    static var monotonic: Duration { .nanoseconds(Int64(MonotonicInstant.current().nanoseconds)) }
}

/// Runs async work to its end from a thread that may block, at start and stop.
func waitFor<Value: Sendable, Failure: Error>(
    _ work: @escaping @Sendable () async throws(Failure) -> Value
) throws(Failure) -> Value {
    let result = Mutex<Result<Value, Failure>?>(nil)
    let box = ResultBox(result: result)
    Task.detached {
        do throws(Failure) {
            box.set(.success(try await work()))
        } catch {
            box.set(.failure(error))
        }
    }
    return try box.wait().get()
}

private final class ResultBox<Value: Sendable, Failure: Error>: Sendable {
    private let result: Mutex<Result<Value, Failure>?>
    private let gate = Gate()

    init(result: consuming Mutex<Result<Value, Failure>?>) { self.result = result }

    func set(_ value: Result<Value, Failure>) {
        result.withLock { $0 = value }
        gate.open()
    }

    func wait() -> Result<Value, Failure> {
        gate.wait()
        guard let value = result.withLock({ $0 }) else { preconditionFailure("the gate opens after the result is set") }
        return value
    }
}

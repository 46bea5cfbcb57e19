import HTTPModel
import IdentityModel
import ProxyCore
import RateLimit
import Telemetry

/// What all workers use and reloads keep: stores, keys, logs. Every member may be used from any thread.
struct GatewayServices: Sendable {
    let revocations: RevocationTable
    let memoryLimits: MemoryRateLimitStore
    let accessLog: AccessLog?
    let metrics: MetricRegistry
}

/// One worker's use of a snapshot: its pools, its verifiers, its counters.
final class WorkerSnapshot {
    let shared: GatewaySnapshot
    let pools: [UpstreamPool]
    let tokens: TokenCache
    let certificates = CertificateCache(entriesMax: 10_000)
    let redis: RedisRateLimit?
    let routeCounters: [RouteCounters]

    init(
        shared: GatewaySnapshot, pools: [UpstreamPool], tokens: TokenCache, redis: RedisRateLimit?,
        routeCounters: [RouteCounters]
    ) {
        self.shared = shared
        self.pools = pools
        self.tokens = tokens
        self.redis = redis
        self.routeCounters = routeCounters
    }
}

/// What one worker counts of one route. A class with few parts: of many routes, each part is another miss of the cache.
final class RouteCounters: Sendable {
    /// Answers by the first digit of their status, 1 to 5; index 0: no answer.
    private let responses: [Counter]
    private let duration: DurationHistogram

    init(_ registry: MetricRegistry, route: String) {
        responses = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"].map { code in
            registry.counter(
                "http_requests_total", help: "Requests by route and status class.",
                labels: [("route", route), ("code", code)])
        }
        duration = registry.histogram(
            "http_request_duration_seconds", help: "Time from a complete head to the last byte handed over.",
            labels: [("route", route)])
    }

    /// Counts an exchange that has ended; called by the owning thread only.
    func count(_ report: ExchangeReport) {
        responses[min(max(report.status / 100, 0), 5)].add()
        duration.record(nanoseconds: report.duration)
    }
}

/// What one worker counts of decisions, limits and caches.
struct FilterCounters: Sendable {
    let allowed: Counter
    let challenged: Counter
    let denied: Counter
    let refused: Counter
    let limited: Counter
    let memoryRequests: Counter
    let limitStoreErrors: Counter
    let tokenCacheHits: Counter
    let tokenCacheMisses: Counter
    let sessionCacheHits: Counter
    let sessionCacheMisses: Counter
    let validation: DurationHistogram

    init(_ registry: MetricRegistry) {
        func decisions(_ outcome: String) -> Counter {
            registry.counter("decisions_total", help: "Decisions by outcome.", labels: [("outcome", outcome)])
        }
        func cache(_ name: String, _ outcome: String) -> Counter {
            registry.counter(
                "auth_cache_lookups_total", help: "Look-ups of verified credentials.",
                labels: [("cache", name), ("outcome", outcome)])
        }
        allowed = decisions("allow")
        challenged = decisions("challenge")
        denied = decisions("deny")
        refused = decisions("refuse")
        memoryRequests = registry.counter(
            "memory_shed_total", help: WorkerCounters.shedHelp, labels: [("what", "request")])
        limited = decisions("limit")
        limitStoreErrors = registry.counter(
            "limit_store_errors_total", help: "Limits that were asked for while their store was away.")
        tokenCacheHits = cache("token", "hit")
        tokenCacheMisses = cache("token", "miss")
        sessionCacheHits = cache("session", "hit")
        sessionCacheMisses = cache("session", "miss")
        validation = registry.histogram(
            "auth_validation_duration_seconds", help: "Time to verify a credential that was not remembered.")
    }
}

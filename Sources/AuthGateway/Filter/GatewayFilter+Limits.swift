import EventLoop
import GatewayConfig
import HTTPModel
import IdentityModel
import ProxyCore
import RateLimit
import Redis
import Telemetry

extension GatewayFilter {
    /// Spends a token of each limit in the list, from where the exchange stands. `nil`: all let it through.
    func spend(_ list: [Int], _ exchange: Exchange, _ state: ExchangeState) -> Verdict? {
        guard !list.isEmpty, let snapshot = state.snapshot else { return nil }
        while state.limitIndex < list.count {
            let limit = snapshot.shared.limits[list[state.limitIndex]]
            switch limit.store {
            case .memory:
                let outcome = services.memoryLimits.take(
                    limit.rule, key: key(limit.keyspace, limit, exchange, state), now: loop.now)
                if let refusal = judge(outcome, limit, exchange, state) { return .respond(refusal) }
                state.limitIndex += 1
            case .redis:
                if let verdict = askRedis(limit, snapshot, exchange, state) { return verdict }
                state.limitIndex += 1
            }
        }
        return nil
    }

    /// The bucket's key: an address, the pair that a subject is, or the route.
    private func key(
        _ keyspace: RateLimitKeyspace, _ limit: GatewaySnapshot.Limit, _ exchange: Exchange, _ state: ExchangeState
    ) -> RateLimitKey {
        switch limit.key {
        case .address: return addressKey(keyspace, exchange)
        case .route:
            let name = state.route?.name ?? []
            return keyspace.key(name.span)
        case .subject:
            // On optional routes somebody unknown is counted by address: a limit that can be left by signing out is none.
            guard let subject = state.credential?.claims.subject else { return addressKey(keyspace, exchange) }
            return keyspace.key(subject.issuer, subject.identifier)
        }
    }

    private func addressKey(_ keyspace: RateLimitKeyspace, _ exchange: Exchange) -> RateLimitKey {
        let address = exchange.clientAddress
        return keyspace.key(address: address.inlineBytes.span)
    }

    /// `nil`: go on. Else the verdict, which may be to wait.
    private func askRedis(
        _ limit: GatewaySnapshot.Limit, _ snapshot: WorkerSnapshot, _ exchange: Exchange, _ state: ExchangeState
    ) -> Verdict? {
        guard let redis = snapshot.redis else { return storeFailed(limit, exchange, state) }
        let generation = exchange.generation
        do throws(RedisError) {
            try redis.take(limit.rule, key: key(limit.sharedKeyspace, limit, exchange, state)) {
                [unowned self] answer in
                guard exchange.generation == generation else { return }
                let refusal: LocalResponse?
                switch answer {
                case .decided(let outcome): refusal = judge(outcome, limit, exchange, state)
                case .storeUnavailable:
                    if let verdict = storeFailed(limit, exchange, state) {
                        exchange.proceed(verdict, generation: generation)
                        return
                    }
                    refusal = nil
                }
                if let refusal {
                    exchange.proceed(.respond(refusal), generation: generation)
                    return
                }
                state.limitIndex += 1
                resume(exchange, generation: generation)
            }
            return .suspend
        } catch {
            return storeFailed(limit, exchange, state)
        }
    }

    /// The store is away: what the rule says then.
    private func storeFailed(
        _ limit: GatewaySnapshot.Limit, _ exchange: Exchange, _ state: ExchangeState
    ) -> Verdict? {
        counters.limitStoreErrors.add()
        switch limit.onStoreError {
        case .allow: return nil
        case .deny: return .respond(storeAway(exchange, state, reason: "limit_store_away"))
        case .local:
            let outcome = services.memoryLimits.take(
                limit.rule, key: key(limit.keyspace, limit, exchange, state), now: loop.now)
            return judge(outcome, limit, exchange, state).map { .respond($0) }
        }
    }

    private func judge(
        _ outcome: RateLimitOutcome, _ limit: GatewaySnapshot.Limit, _ exchange: Exchange, _ state: ExchangeState
    ) -> LocalResponse? {
        limitItem.removeAll(keepingCapacity: true)
        switch outcome {
        case .allowed(let remaining, let resetAfter):
            limit.policy.appendState(remaining: remaining, reset: resetAfter, to: &limitItem)
            appendLimitFields(limit, exchange)
            return nil
        case .limited(let retryAfter, let resetAfter):
            limit.policy.appendState(remaining: 0, reset: resetAfter, to: &limitItem)
            appendLimitFields(limit, exchange)
            counters.limited.add()
            state.decision = "limit"
            state.reason = "limit.\(limit.name)"
            return local(.overLimit(retryAfter: retryAfter), exchange, state)
        }
    }

    private func appendLimitFields(_ limit: GatewaySnapshot.Limit, _ exchange: Exchange) {
        exchange.responseFields.append("RateLimit-Policy: " as StaticString)
        exchange.responseFields.append(limit.policy.policyItem)
        exchange.responseFields.append("\r\nRateLimit: " as StaticString)
        exchange.responseFields.append(limitItem)
        exchange.responseFields.append("\r\n" as StaticString)
    }
}

import EventLoop
import GatewayConfig
import IdentityModel
import ProxyCore

/// Ends what takes longer than `request_timeout`, and what outlives its credential: an upgraded connection or a stream that
/// goes on after its session was ended, or after its token, certificate or session ran out, or its certificate's
/// authorities or revocation lists are others. Looked at four times a second, over the exchanges that are open; requests pay
/// nothing. With the least age of a stream that is within a second of the end, the store's answer included.
extension GatewayFilter {
    /// Begins to look; called once, on the worker's thread or before it runs. `doubtMax` is in nanoseconds.
    func watchOpenExchanges(of worker: Worker, doubtMax: UInt64 = GatewayFilter.doubtMax) {
        let watch = Ticker(loop: loop, interval: 250_000_000) { [unowned self, unowned worker] in
            worker.forEachOpenExchange { exchange in examine(exchange, doubtMax) }
        }
        openExchangeWatch = watch
    }

    private func examine(_ exchange: Exchange, _ doubtMax: UInt64) {
        let state = exchange.gatewayState
        if isOverdue(exchange, state) {
            exchange.timeOut()
            return
        }
        // What the identity service does is short, and may be the very end of the session.
        guard let credential = state.credential, state.stage == .forward, state.route?.target != .identity else {
            return
        }
        guard exchange.isUpgraded || isStream(exchange) else { return }
        let now = currentEpochSeconds()
        guard credential.isUsable(at: now) || credential.kind == .session else {
            exchange.cut(step: "credential.expired")
            return
        }
        guard credential.kind != .certificate || isVouchedFor(exchange, now) else {
            exchange.cut(step: "certificate.in_doubt")
            return
        }
        guard let key = credential.sessionKey else { return }
        let generation = services.revocations.generation(of: key)
        guard generation != state.watchedGeneration || !credential.isUsable(at: now) else {
            state.doubtedSince = nil
            return
        }
        let doubtedSince = state.doubtedSince ?? MonotonicInstant.current()
        state.doubtedSince = doubtedSince
        guard MonotonicInstant.current().nanoseconds(since: doubtedSince) < doubtMax else {
            exchange.cut(step: "session.unknown")
            return
        }
        ask(key, generation, exchange, state)
    }

    /// Whether the connection's certificate was verified by the authorities and revocation lists of now.
    private func isVouchedFor(_ exchange: Exchange, _ now: Int64) -> Bool {
        guard let policy = exchange.handshake?.policy, now < policy.revocationsEnd ?? .max,
            let tls = current?.shared.listener(of: exchange)?.tls
        else { return false }
        return tls.policies.contains { $0 == policy }
    }

    /// The counter has moved, for this session or for one that shares it, or the time it was known for is over: only the
    /// store can tell. While the store is away the exchange is asked about again, and goes on for `doubtMax`.
    private func ask(_ key: SessionKey, _ generation: UInt64, _ exchange: Exchange, _ state: ExchangeState) {
        guard sessionLookUps < GatewayFilter.sessionLookUpsMax, !state.isBeingWatched,
            let authority = state.snapshot?.shared.sessions
        else { return }
        state.isBeingWatched = true
        fetchSession(key, from: authority, for: exchange) { filter, result, exchange in
            filter.told(result, generation, exchange)
        }
    }

    private func told(_ result: Result<Session?, StoreError>, _ generation: UInt64, _ exchange: Exchange) {
        let state = exchange.gatewayState
        state.isBeingWatched = false
        switch result {
        case .failure: return
        case .success(nil): exchange.cut(step: "session.ended")
        case .success:
            state.watchedGeneration = generation
            state.doubtedSince = nil
        }
    }

    /// Whether its whole time is over. That of the listener is not for what is meant to last.
    private func isOverdue(_ exchange: Exchange, _ state: ExchangeState) -> Bool {
        // Without a snapshot it is none yet, and what stands in the state is of the exchange before it.
        guard state.snapshot != nil, let deadline = state.deadline, MonotonicInstant.current() >= deadline else {
            return false
        }
        return state.route?.requestTimeout != nil || !(exchange.isUpgraded || state.isEventStream)
    }

    /// A request that was let in is answered; what goes on long after its answer began is a stream.
    private func isStream(_ exchange: Exchange) -> Bool {
        guard let began = exchange.answerBeganAt else { return false }
        return MonotonicInstant.current().nanoseconds(since: began) > GatewayFilter.streamAge
    }

    static let streamAge: UInt64 = 400_000_000
    /// The longest that a stream goes on while nobody can say whether its session still lives: 10 s.
    static let doubtMax: UInt64 = 10_000_000_000
}

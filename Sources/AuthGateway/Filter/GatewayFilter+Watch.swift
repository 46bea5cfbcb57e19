import EventLoop
import GatewayConfig
import IdentityModel
import ProxyCore

/// Ends what outlives its credential: an upgraded connection or a stream that goes on after its session was ended, or
/// after its token or session ran out. Looked at four times a second, over the exchanges that are open; requests pay
/// nothing. With the least age of a stream that is within a second of the end, the store's answer included.
extension GatewayFilter {
    /// Begins to look; called once, on the worker's thread or before it runs.
    func watchOpenExchanges(of worker: Worker) {
        let watch = Ticker(loop: loop, interval: 250_000_000) { [unowned self, unowned worker] in
            worker.forEachOpenExchange { exchange in examine(exchange) }
        }
        openExchangeWatch = watch
    }

    private func examine(_ exchange: Exchange) {
        let state = exchange.gatewayState
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
        guard let key = credential.sessionKey else { return }
        let generation = services.revocations.generation(of: key)
        guard generation != state.watchedGeneration || !credential.isUsable(at: now) else { return }
        ask(key, generation, exchange, state)
    }

    /// The counter has moved, for this session or for one that shares it, or the time it was known for is over: only the
    /// store can tell. While the store is away the exchange goes on, and is asked about again.
    private func ask(_ key: SessionKey, _ generation: UInt64, _ exchange: Exchange, _ state: ExchangeState) {
        guard sessionLookUps < GatewayFilter.sessionLookUpsMax, !state.isBeingWatched,
            let authority = state.snapshot?.shared.sessions
        else { return }
        sessionLookUps += 1
        state.isBeingWatched = true
        let ticket = ExchangeTicket(exchange)
        let mailbox = loop.mailbox
        let owner = FilterReference(self)
        let now = currentEpochSeconds()
        Task.detached {
            let result: Result<Session?, StoreError>
            do throws(StoreError) {
                result = .success(try await authority.session(for: key, now: now))
            } catch {
                result = .failure(error)
            }
            mailbox.post { _ in owner.filter.told(result, generation, ticket) }
        }
    }

    private func told(_ result: Result<Session?, StoreError>, _ generation: UInt64, _ ticket: ExchangeTicket) {
        sessionLookUps -= 1
        let exchange = ticket.exchange
        guard exchange.generation == ticket.generation else { return }
        let state = exchange.gatewayState
        state.isBeingWatched = false
        switch result {
        case .failure: return
        case .success(nil): exchange.cut(step: "session.ended")
        case .success: state.watchedGeneration = generation
        }
    }

    /// A request that was let in is answered; what goes on long after its answer began is a stream.
    private func isStream(_ exchange: Exchange) -> Bool {
        guard let began = exchange.answerBeganAt else { return false }
        return MonotonicInstant.current().nanoseconds(since: began) > GatewayFilter.streamAge
    }

    static let streamAge: UInt64 = 400_000_000
}

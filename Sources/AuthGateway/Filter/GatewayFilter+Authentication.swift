import EventLoop
import GatewayConfig
import HTTPModel
import IdentityModel
import JOSE
import ProxyCore
import Telemetry

extension GatewayFilter {
    /// Judges the first credential that is present: explicit ones before the cookie, and that one alone. `nil`: go on.
    func authenticate(_ exchange: Exchange, _ state: ExchangeState, _ route: CompiledRoute) -> Verdict? {
        guard route.readsCredentials(isPreflight: state.isPreflight) else { return nil }
        if route.accepts(.jwt), let index = exchange.head.firstIndex(of: .authorization) {
            judgeAuthorization(exchange, state, index)
            guard state.refusal?.isUndecided != true else {
                return .respond(storeAway(exchange, state, reason: "token_keys_away"))
            }
            return nil
        }
        if route.accepts(.certificate), let certificate = exchange.handshake?.clientCertificate {
            judge(certificate, exchange, state)
            return nil
        }
        if route.accepts(.session) { return judgeCookie(exchange, state) }
        return nil
    }

    /// A certificate was verified in the handshake, by the rules of the request's host; whom it names is said here.
    private func judge(_ certificate: ClientCertificate, _ exchange: Exchange, _ state: ExchangeState) {
        guard let snapshot = state.snapshot, let source = state.certificateSource else {
            state.credentialState = .invalid(.unsupported)
            state.refusal = CredentialRefusal(.unsupported, nil)
            return
        }
        switch snapshot.certificates.credential(for: certificate, by: source) {
        case .success(let credential):
            state.credential = credential
            state.credentialState = .valid(.certificate)
            checkName(state)
        case .failure(let refusal):
            state.credentialState = .invalid(refusal.fault)
            state.refusal = refusal
        }
    }

    private func judgeAuthorization(_ exchange: Exchange, _ state: ExchangeState, _ index: Int) {
        guard let snapshot = state.snapshot else { return }
        let value = exchange.headBytes.extracting(exchange.head.fields[index].value.range)
        guard let token = GatewayFilter.bearerToken(in: value) else {
            state.credentialState = .invalid(.unsupported)
            state.refusal = CredentialRefusal(.unsupported, nil)
            return
        }
        let before = snapshot.tokens.misses
        switch snapshot.tokens.credential(for: value.extracting(token), now: currentEpochSeconds()) {
        case .success(let credential):
            state.credential = credential
            state.credentialState = .valid(.jwt)
        case .failure(let refusal):
            state.credentialState = .invalid(refusal.fault)
            state.refusal = refusal
        }
        if snapshot.tokens.misses == before {
            counters.tokenCacheHits.add()
        } else {
            counters.tokenCacheMisses.add()
            counters.validation.record(nanoseconds: MonotonicInstant.current().nanoseconds(since: loop.now))
        }
        checkName(state)
    }

    /// A subject that the application could take for another source's is not believed.
    private func checkName(_ state: ExchangeState) {
        guard let route = state.route, let credential = state.credential,
            credential.identityBlock(route.headers) == nil
        else { return }
        state.credential = nil
        state.credentialState = .invalid(.ambiguousName)
        state.refusal = CredentialRefusal(.ambiguousName, nil)
    }

    /// The token of `Bearer TOKEN` (RFC 6750 section 2.1): scheme in any case, one space or more, then token bytes.
    static func bearerToken(in value: Span<UInt8>) -> Range<Int>? {
        let scheme: StaticString = "bearer"
        guard value.count > 7, value[6] == UInt8(ascii: " ") else { return nil }
        for index in 0..<6 {
            // Within the literal's six bytes.
            let wanted = unsafe scheme.utf8Start[index]
            guard value[index] | 0x20 == wanted else { return nil }
        }
        var start = 7
        while start < value.count, value[start] == UInt8(ascii: " ") { start += 1 }
        guard start < value.count else { return nil }
        return start..<value.count
    }

    // MARK: Session

    private func judgeCookie(_ exchange: Exchange, _ state: ExchangeState) -> Verdict? {
        guard let snapshot = state.snapshot?.shared else { return nil }
        switch sessionCookie(exchange, snapshot) {
        case .none: return nil
        case .several:
            state.clearsCookie = true
            return nil
        case .one(let key):
            guard let key else {
                state.clearsCookie = true
                return nil
            }
            return lookUp(key, exchange, state)
        }
    }

    private enum SessionCookie {
        case none
        /// `nil`: no value of ours.
        case one(SessionKey?)
        case several
    }

    /// Over all `Cookie` lines, which are one logical field.
    private func sessionCookie(_ exchange: Exchange, _ snapshot: GatewaySnapshot) -> SessionCookie {
        let bytes = exchange.headBytes
        let name = snapshot.cookieNames.configured
        var found = SessionCookie.none
        for index in 0..<exchange.head.fields.count where exchange.head.fields[index].known == .cookie {
            let match = CookieFields.value(
                named: name.span, of: exchange.head.fields[index].value.range, in: bytes)
            switch match {
            case .none: continue
            case .several: return .several
            case .one(let range):
                guard case .none = found else { return .several }
                found = .one(GatewayFilter.sessionKey(bytes.extracting(range)))
            }
        }
        return found
    }

    /// The key of a cookie value of ours, 43 base64url bytes; `nil` for anything else, which is no session (R63).
    static func sessionKey(_ value: Span<UInt8>) -> SessionKey? {
        guard value.count == 43 else { return nil }
        for index in value.indices {
            switch value[index] {
            case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"):
                continue
            default: return nil
            }
        }
        return SessionKey(words: SHA256.digest(of: value).words)
    }

    private func lookUp(_ key: SessionKey, _ exchange: Exchange, _ state: ExchangeState) -> Verdict? {
        let now = currentEpochSeconds()
        let generation = services.revocations.generation(of: key)
        if let cached = sessions.value(for: key) {
            if cached.generation == generation, loop.now < cached.believedUntil, cached.credential.isUsable(at: now) {
                counters.sessionCacheHits.add()
                state.credential = cached.credential
                state.watchedGeneration = generation
                state.credentialState = .valid(.session)
                checkName(state)
                return nil
            }
            sessions.remove(key)
        }
        counters.sessionCacheMisses.add()
        guard sessionLookUps < GatewayFilter.sessionLookUpsMax else {
            return .respond(storeAway(exchange, state, reason: "session_store_overload"))
        }
        guard let authority = state.snapshot?.shared.sessions else { return nil }
        fetchSession(key, from: authority, for: exchange) { filter, result, exchange in
            filter.sessionArrived(result, key, generation, exchange)
        }
        return .suspend
    }

    /// Asks the store on another thread, and counts the look-up while it is under way. `arrived` runs on the worker's
    /// thread, unless the exchange has ended by then.
    func fetchSession(
        _ key: SessionKey, from authority: any SessionAuthority, for exchange: Exchange,
        arrived: @escaping @Sendable (GatewayFilter, Result<Session?, StoreError>, Exchange) -> Void
    ) {
        sessionLookUps += 1
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
            mailbox.post { _ in
                owner.filter.sessionLookUps -= 1
                guard ticket.exchange.generation == ticket.generation else { return }
                arrived(owner.filter, result, ticket.exchange)
            }
        }
    }

    private func sessionArrived(
        _ result: Result<Session?, StoreError>, _ key: SessionKey, _ generation: UInt64, _ exchange: Exchange
    ) {
        let exchangeGeneration = exchange.generation
        let state = exchange.gatewayState
        guard let snapshot = state.snapshot?.shared else { return }
        switch result {
        case .failure:
            // An error is never "no session": the cookie stays, and nobody is sent to sign in.
            exchange.proceed(
                .respond(storeAway(exchange, state, reason: "session_store_away")), generation: exchangeGeneration)
            return
        case .success(nil): state.clearsCookie = true
        case .success(let session?):
            let now = currentEpochSeconds()
            guard services.revocations.generation(of: key) == generation else {
                // Ended while the answer was under way, or another one did whose counter is the same: only an answer
                // that was asked for since then tells. The exchange waits on, within its first deadline.
                let verdict = lookUp(key, exchange, state)
                if case .suspend? = verdict { return }
                if let verdict {
                    exchange.proceed(verdict, generation: exchangeGeneration)
                    return
                }
                break
            }
            guard session.isLive(at: now) else {
                state.clearsCookie = true
                break
            }
            let credential = Credential(
                kind: .session, sessionKey: key, claims: session.claims, usableFrom: 0,
                usableUntil: min(session.expiresAt, session.idleExpiresAt), prefix: snapshot.sessionPrefix)
            let ttl = snapshot.configuration.authentication.session.cacheTTL.nanosecondsForTimers
            // The store answered by the rights of this exchange's configuration: nothing for exchanges of a newer one.
            if state.snapshot === current {
                sessions.insert(
                    CachedSession(
                        credential: credential, generation: generation,
                        believedUntil: loop.now.advanced(byNanoseconds: ttl)), for: key)
            }
            state.credential = credential
            state.watchedGeneration = generation
            state.credentialState = .valid(.session)
            checkName(state)
        }
        state.stage = .authorize
        exchange.proceed(run(exchange, state), generation: exchangeGeneration)
    }

    /// Session look-ups of one worker that may be under way.
    static let sessionLookUpsMax = 256
}

/// An exchange on its way through another thread, which does not touch it.
struct ExchangeTicket: @unchecked Sendable {
    let exchange: Exchange
    let generation: UInt64

    init(_ exchange: Exchange) {
        self.exchange = exchange
        generation = exchange.generation
    }
}

/// A filter on its way through another thread, which does not touch it.
struct FilterReference: @unchecked Sendable {
    let filter: GatewayFilter

    init(_ filter: GatewayFilter) { self.filter = filter }
}

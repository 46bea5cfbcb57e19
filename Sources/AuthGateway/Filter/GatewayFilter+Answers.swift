import GatewayConfig
import HTTPModel
import IdentityModel
import JOSE
import ProxyCore
import Telemetry

extension GatewayFilter {
    // MARK: Reasons

    /// A request that the gateway does not accept, whoever sends it.
    func refuse(_ exchange: Exchange, _ state: ExchangeState, status: Int, reason: String) -> LocalResponse {
        counters.refused.add()
        state.decision = "refuse"
        state.reason = reason
        var response = local(GatewayFilter.kind(status), exchange, state)
        // What could not be read in one way only is the last of its connection.
        response.closes = status == 400
        return response
    }

    func methodNotAllowed(_ exchange: Exchange, _ state: ExchangeState, _ route: CompiledRoute) -> LocalResponse {
        counters.refused.add()
        state.decision = "refuse"
        state.reason = "method"
        return local(.methodNotAllowed(allow: route.methods.allow), exchange, state)
    }

    /// A store did not answer: nobody is sent to sign in, no cookie is cleared.
    func storeAway(_ exchange: Exchange, _ state: ExchangeState, reason: String) -> LocalResponse {
        counters.refused.add()
        state.decision = "refuse"
        state.reason = reason
        state.clearsCookie = false
        return local(.unavailable(retryAfter: .seconds(2)), exchange, state)
    }

    /// Memory is for those who were let in already.
    func shed(_ exchange: Exchange, _ state: ExchangeState) -> LocalResponse? {
        guard MemoryAccount.isVeryShort else { return nil }
        exchange.worker.removeSpareMemory()
        counters.memoryRequests.add()
        return refuse(exchange, state, status: 503, reason: "memory")
    }

    /// What a decision other than allow is answered with.
    func answer(to decision: Decision, _ exchange: Exchange, _ state: ExchangeState) -> LocalResponse {
        switch decision {
        case .allow: return LocalResponse(status: 500)
        case .challenge(let challenge):
            counters.challenged.add()
            state.decision = "challenge"
            switch challenge {
            case .credentialAbsent: state.reason = "credential.absent"
            case .credentialInvalid(let fault):
                state.reason =
                    state.refusal?.tokenError.map { "token.\($0.rawValue)" } ?? "credential.\(fault.rawValue)"
            }
        case .deny(let scopes, let roles):
            counters.denied.add()
            state.decision = "deny"
            let missing = scopes.map(\.name).sorted() + roles.map { "role \($0.name)" }.sorted()
            state.reason = missing.isEmpty ? "forbidden" : "missing.\(missing.joined(separator: ","))"
        }
        return local(AnswerKind(decision) ?? .internalError, exchange, state)
    }

    func response(to error: ExchangeError, _ exchange: Exchange) -> LocalResponse {
        let state = exchange.gatewayState
        if state.snapshot == nil, let current { state.reset(current) }
        if exchange.clientAddress == .unspecified { exchange.clientAddress = exchange.peer }
        if error.side == .downstream, error.step == "request.head" {
            counters.refused.add()
            state.decision = "refuse"
            state.reason = "request.head"
        }
        // The answer of an upstream that failed may have left fields behind.
        exchange.responseFields.removeAll()
        var response = local(GatewayFilter.kind(error.status), exchange, state)
        response.closes = error.side == .downstream
        return response
    }

    static func kind(_ status: Int) -> AnswerKind {
        switch status {
        case 404: .notFound
        case 405: .methodNotAllowed(allow: Array(methodsKnown.utf8))
        case 503: .unavailable(retryAfter: .seconds(2))
        default: AnswerKind(errorStatus: status)
        }
    }

    // MARK: Making the answer

    func local(_ kind: AnswerKind, _ exchange: Exchange, _ state: ExchangeState) -> LocalResponse {
        let answer = Answer(kind, context(exchange, state))
        if state.clearsCookie, let snapshot = state.snapshot?.shared { appendCookieClearing(exchange, snapshot) }
        appendRequestIDField(exchange)
        appendSecurityFields(exchange, state)
        return GatewayFilter.response(answer)
    }

    static func response(_ answer: Answer) -> LocalResponse {
        var fields: [UInt8] = []
        for field in answer.fields { fields += Array("\(field.name): \(field.value)\r\n".utf8) }
        return LocalResponse(status: answer.status, fields: fields, body: answer.body)
    }

    private func context(_ exchange: Exchange, _ state: ExchangeState) -> AnswerContext {
        let method = exchange.head.method
        var context = AnswerContext(
            requestID: requestID(exchange).description, isNavigation: state.isNavigation,
            isRepeatable: method == .get || method == .head)
        guard let snapshot = state.snapshot?.shared, state.route?.accepts(.session) == true else { return context }
        let session = snapshot.configuration.authentication.session
        context.signInURL = session.loginURL ?? GatewayFilter.signInPath
        let target = exchange.target.withBytes { bytes in bytes.indices.map { bytes[$0] } }
        context.returnTarget = ReturnTarget(
            path: target, origin: session.loginURL == nil ? nil : origin(exchange, state, snapshot))
        return context
    }

    /// This request's origin, where its host is one that the routes name (R31).
    private func origin(_ exchange: Exchange, _ state: ExchangeState, _ snapshot: GatewaySnapshot) -> String? {
        let host = state.host.withBytes { String(decoding: $0) }
        guard snapshot.knownHosts.contain(host) else { return nil }
        let scheme = state.isSecure ? "https" : "http"
        let isDefault = state.port == (state.isSecure ? 443 : 80)
        return "\(scheme)://\(host)\(isDefault ? "" : ":\(state.port)")"
    }

    // MARK: Paths of our own

    /// `/.gateway/…` is answered here on every host.
    func ownPath(_ exchange: Exchange, _ state: ExchangeState) -> LocalResponse? {
        let pathCount = state.pathCount
        let path = exchange.target.withBytes { target -> String? in
            guard target.starts(with: "/.gateway") else { return nil }
            return String(decoding: target.extracting(0..<pathCount))
        }
        guard let text = path, text == "/.gateway" || text.hasPrefix("/.gateway/"),
            let snapshot = state.snapshot?.shared
        else {
            return nil
        }
        let login = snapshot.configuration.authentication.session.loginURL
        switch text {
        case "/.gateway/login": return redirect(to: login ?? GatewayFilter.signInPath, exchange, state)
        case "/.gateway/logout":
            let page = login.map { GatewayFilter.logoutURL(besides: $0) } ?? GatewayFilter.signOutPath
            return redirect(to: page, exchange, state)
        default: return refuse(exchange, state, status: 404, reason: "own_path")
        }
    }

    private func redirect(to location: String, _ exchange: Exchange, _ state: ExchangeState) -> LocalResponse {
        state.reason = "own_path"
        appendRequestIDField(exchange)
        appendSecurityFields(exchange, state)
        return LocalResponse(
            status: 302, fields: Array("Location: \(location)\r\nCache-Control: no-store\r\n".utf8))
    }

    private static func logoutURL(besides login: String) -> String {
        login.hasSuffix("/login") ? String(login.dropLast("/login".count)) + "/logout" : login
    }

    /// To OPTIONS about the server as a whole: it says the same whatever the host, and asks no application.
    func serverOptions(_ exchange: Exchange, _ state: ExchangeState) -> LocalResponse {
        options(allow: GatewayFilter.methodsKnown, exchange, state)
    }

    /// To OPTIONS that may be forwarded no further (RFC 9110 section 7.6.2).
    func routeOptions(_ exchange: Exchange, _ state: ExchangeState, _ route: CompiledRoute) -> LocalResponse {
        let allow = String(decoding: route.methods.allow, as: UTF8.self)
        return options(allow: allow.isEmpty ? GatewayFilter.methodsKnown : allow, exchange, state)
    }

    private func options(allow: String, _ exchange: Exchange, _ state: ExchangeState) -> LocalResponse {
        state.reason = "options"
        appendRequestIDField(exchange)
        appendSecurityFields(exchange, state)
        return LocalResponse(status: 204, fields: Array("Allow: \(allow)\r\n".utf8))
    }

    /// 308 to the same target over HTTPS, for hosts that the routes name.
    func redirectToHTTPS(_ exchange: Exchange, _ state: ExchangeState, port: UInt16) -> LocalResponse {
        let host = state.host.withBytes { String(decoding: $0) }
        guard let snapshot = state.snapshot?.shared, snapshot.knownHosts.contain(host) else {
            return refuse(exchange, state, status: 404, reason: "unknown_host")
        }
        let target = exchange.target.withBytes { String(decoding: $0) }
        state.reason = "redirect_to_https"
        appendRequestIDField(exchange)
        appendSecurityFields(exchange, state)
        let location = "https://\(host)\(port == 443 ? "" : ":\(port)")\(target)"
        return LocalResponse(status: 308, fields: Array("Location: \(location)\r\n".utf8))
    }

    // MARK: Navigation

    /// Whether a person waits for a page; looks at few bytes unless the request may be a browser's.
    func isNavigation(_ exchange: Exchange, _ bytes: Span<UInt8>) -> Bool {
        func value(_ field: KnownField) -> [UInt8]? {
            exchange.head.firstIndex(of: field).map { index in
                exchange.head.fields[index].value.range.map { bytes[$0] }
            }
        }
        guard exchange.head.method == .get || exchange.head.firstIndex(of: .secFetchMode) != nil else { return false }
        if exchange.head.firstIndex(of: .secFetchMode) == nil {
            guard let accept = exchange.head.firstIndex(of: .accept), exchange.head.fields[accept].value.count >= 9
            else {
                return false
            }
        }
        return AuthGateway.isNavigation(
            secFetchMode: value(.secFetchMode), accept: value(.accept), method: Array("GET".utf8),
            hasRequestedWith: exchange.head.firstIndex(of: .xRequestedWith) != nil,
            hasAuthorization: exchange.head.firstIndex(of: .authorization) != nil)
    }

    /// Methods that a route may pass on, where no route says which.
    static let methodsKnown = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
    static let signInPath = "/auth/login"
    static let signOutPath = "/auth/logout"
}

extension Span<UInt8> {
    /// Whether the value of a `Content-Type` names this type, in any case, with parameters or without.
    func holdsMediaType(_ name: StaticString) -> Bool {
        let length = name.utf8CodeUnitCount
        guard count >= length else { return false }
        for index in 0..<length {
            // Within the literal, whose letters are small.
            let wanted = unsafe name.utf8Start[index]
            let byte = self[index]
            guard byte == wanted || (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte) && byte | 0x20 == wanted
            else { return false }
        }
        return count == length || [UInt8(ascii: ";"), UInt8(ascii: " "), UInt8(ascii: "\t")].contains(self[length])
    }

    /// Whether the bytes begin with a literal's.
    func starts(with text: StaticString) -> Bool {
        guard count >= text.utf8CodeUnitCount else { return false }
        for index in 0..<text.utf8CodeUnitCount {
            // Within the literal.
            let wanted = unsafe text.utf8Start[index]
            guard self[index] == wanted else { return false }
        }
        return true
    }
}

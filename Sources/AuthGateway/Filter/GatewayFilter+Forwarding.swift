import EventLoop
import GatewayConfig
import HTTPModel
import IdentityModel
import ProxyCore

extension GatewayFilter {
    /// Rewrites the head: credentials that were used up here go, the identity and the connection's facts come.
    func forward(
        _ exchange: Exchange, _ state: ExchangeState, _ route: CompiledRoute, _ snapshot: WorkerSnapshot
    ) -> Verdict {
        let bytes = exchange.headBytes
        if exchange.head.method == .options, let answer = countForward(exchange, state, route, bytes) {
            return .respond(answer)
        }
        if route.accepts(.jwt), !route.forwardsCredential, let index = exchange.head.firstIndex(of: .authorization) {
            exchange.head.fields[index].isDropped = true
        }
        // The identity service is who the cookie is for.
        if route.target != .identity { cutSessionCookie(exchange, snapshot.shared, bytes) }
        writeConnectionFacts(exchange, state, bytes)
        if let credential = state.credential {
            writeIdentity(credential, exchange, route, snapshot.shared)
        }
        if state.clearsCookie { appendCookieClearing(exchange, snapshot.shared) }
        if route.buffersRequest { exchange.requestBuffering = snapshot.shared.requestBuffering }
        if route.buffersResponse { exchange.responseBuffering = snapshot.shared.responseBuffering }
        switch route.target {
        case .upstream(let index): return .forward(snapshot.pools[index])
        case .identity:
            appendRequestIDField(exchange)
            appendSecurityFields(exchange, state)
            return .handle(snapshot.shared.identity)
        }
    }

    /// Takes one from `Max-Forwards`, or answers where none is left (RFC 9110 section 7.6.2). TRACE is never forwarded, and
    /// for other methods the field means nothing.
    private func countForward(
        _ exchange: Exchange, _ state: ExchangeState, _ route: CompiledRoute, _ bytes: Span<UInt8>
    ) -> LocalResponse? {
        guard let index = exchange.head.firstIndex(of: .maxForwards) else { return nil }
        let value = text(bytes, exchange.head.fields[index].value)
        guard value.utf8.allSatisfy({ $0 &- UInt8(ascii: "0") <= 9 }), let count = UInt64(value) else {
            return refuse(exchange, state, status: 400, reason: "max_forwards")
        }
        guard count > 0 else { return routeOptions(exchange, state, route) }
        exchange.head.fields[index].isDropped = true
        exchange.upstreamFields.append("Max-Forwards: " as StaticString)
        exchange.upstreamFields.append(decimal: count - 1)
        exchange.upstreamFields.append("\r\n" as StaticString)
        return nil
    }

    /// The identity in the fields of the route's preset, and signed.
    private func writeIdentity(
        _ credential: Credential, _ exchange: Exchange, _ route: CompiledRoute, _ snapshot: GatewaySnapshot
    ) {
        if let block = credential.identityBlock(route.headers) { exchange.upstreamFields.append(block) }
        guard case .upstream(let index) = route.target else { return }
        let audience = snapshot.upstreamSettings[index].name
        if let line = credential.assertion(for: audience, now: currentEpochSeconds(), by: snapshot.assertions) {
            exchange.upstreamFields.append(line)
        }
    }

    /// Takes the session cookie, in each of its spellings, out of every `Cookie` line. Of several lines one is made:
    /// applications get lines of one name with commas between them, which part no cookies (RFC 6265 section 5.4).
    private func cutSessionCookie(_ exchange: Exchange, _ snapshot: GatewaySnapshot, _ bytes: Span<UInt8>) {
        var isEmpty = true
        for index in 0..<exchange.head.fields.count where exchange.head.fields[index].known == .cookie {
            var beginsLine = true
            CookieFields.forEachKept(
                of: exchange.head.fields[index].value.range, in: bytes, cutting: { snapshot.cookieNames.contains($0) },
                keep: { range in
                    if isEmpty {
                        exchange.upstreamFields.append("Cookie: " as StaticString)
                    } else if beginsLine {
                        exchange.upstreamFields.append("; " as StaticString)
                    }
                    isEmpty = false
                    beginsLine = false
                    exchange.upstreamFields.append(bytes, range)
                })
            exchange.head.fields[index].isDropped = true
        }
        if !isEmpty { exchange.upstreamFields.append("\r\n" as StaticString) }
    }

    /// `X-Forwarded-*` and `Forwarded` from the socket or from a trusted peer, the request identifier, and the trace it belongs to.
    private func writeConnectionFacts(_ exchange: Exchange, _ state: ExchangeState, _ bytes: Span<UInt8>) {
        exchange.upstreamFields.append("X-Forwarded-For: " as StaticString)
        exchange.clientAddress.append(to: &exchange.upstreamFields)
        exchange.upstreamFields.append(
            state.isSecure
                ? "\r\nX-Forwarded-Proto: https\r\n" as StaticString : "\r\nX-Forwarded-Proto: http\r\n" as StaticString
        )
        let host = state.forwardedHost ?? exchange.head.authority
        if host.count > 0 {
            exchange.upstreamFields.append("X-Forwarded-Host: " as StaticString)
            exchange.upstreamFields.append(bytes, host.range)
            exchange.upstreamFields.append("\r\n" as StaticString)
        }
        exchange.upstreamFields.append("X-Forwarded-Port: " as StaticString)
        exchange.upstreamFields.append(decimal: UInt64(state.port))
        exchange.upstreamFields.append("\r\nForwarded: for=" as StaticString)
        if exchange.clientAddress == .unspecified {
            // A peer on a Unix socket (RFC 7239 section 6.2).
            exchange.upstreamFields.append("unknown" as StaticString)
        } else if exchange.clientAddress.isIPv4 {
            exchange.clientAddress.append(to: &exchange.upstreamFields)
        } else {
            exchange.upstreamFields.append("\"[" as StaticString)
            exchange.clientAddress.append(to: &exchange.upstreamFields)
            exchange.upstreamFields.append("]\"" as StaticString)
        }
        exchange.upstreamFields.append(
            state.isSecure ? ";proto=https\r\n" as StaticString : ";proto=http\r\n" as StaticString)
        for index in 0..<exchange.head.fields.count where exchange.head.fields[index].known == .xRequestID {
            exchange.head.fields[index].isDropped = true
        }
        exchange.upstreamFields.append("X-Request-Id: " as StaticString)
        let requestID = requestID(exchange)
        requestID.append(to: &exchange.upstreamFields)
        exchange.upstreamFields.append("\r\n" as StaticString)
        writeTrace(exchange, requestID, bytes)
    }

    /// A sound `traceparent` goes on with a new parent (W3C Trace Context); else a trace begins here.
    private func writeTrace(_ exchange: Exchange, _ requestID: RequestIdentifier, _ bytes: Span<UInt8>) {
        var identifier: Range<Int>?
        if let index = exchange.head.firstIndex(of: .traceparent) {
            let value = exchange.head.fields[index].value.range
            if GatewayFilter.isTraceparent(bytes.extracting(value)) {
                identifier = value.lowerBound + 3..<value.lowerBound + 35
            }
        }
        for index in 0..<exchange.head.fields.count where exchange.head.fields[index].known == .traceparent {
            exchange.head.fields[index].isDropped = true
        }
        exchange.upstreamFields.append("traceparent: 00-" as StaticString)
        if let identifier {
            exchange.upstreamFields.append(bytes, identifier)
        } else {
            requestID.append(to: &exchange.upstreamFields)
        }
        exchange.upstreamFields.append(UInt8(ascii: "-"))
        requestID.appendLastHalf(to: &exchange.upstreamFields)
        exchange.upstreamFields.append("-01\r\n" as StaticString)
    }

    /// Version 00: two, 32, 16 and two lower-case hexadecimal digits with `-` between; neither identifier all zero.
    static func isTraceparent(_ value: Span<UInt8>) -> Bool {
        guard value.count == 55, value[0] == UInt8(ascii: "0"), value[1] == UInt8(ascii: "0") else { return false }
        var traceIsZero = true
        var parentIsZero = true
        for index in 2..<55 {
            if index == 2 || index == 35 || index == 52 {
                guard value[index] == UInt8(ascii: "-") else { return false }
                continue
            }
            switch value[index] {
            case UInt8(ascii: "0"): continue
            case UInt8(ascii: "1")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "f"):
                if index < 35 { traceIsZero = false } else if index < 52 { parentIsZero = false }
            default: return false
            }
        }
        return !traceIsZero && !parentIsZero
    }

    // MARK: The answer's head

    func responseArrived(_ exchange: Exchange, head: inout ResponseHead, bytes: Span<UInt8>) {
        let state = exchange.gatewayState
        guard let snapshot = state.snapshot?.shared else { return }
        for index in 0..<head.fields.count {
            let field = head.fields[index]
            switch field.known {
            case .setCookie:
                // An application must not set, or clear, the gateway's own cookie.
                if let name = SetCookie.name(of: field.value.range, in: bytes),
                    snapshot.cookieNames.contains(bytes.extracting(name))
                {
                    head.fields[index].isDropped = true
                }
            case .xRequestID: head.fields[index].isDropped = true
            case .contentType where state.deadline != nil:
                state.isEventStream = bytes.extracting(field.value.range).holdsMediaType("text/event-stream")
            default: continue
            }
        }
        appendRequestIDField(exchange)
        state.route?.securityFields.append(
            to: &exchange.responseFields, head: &head, bytes: bytes, isSecure: state.isSecure)
    }

    /// Those of an answer of the gateway's own, the identity service's too.
    func appendSecurityFields(_ exchange: Exchange, _ state: ExchangeState) {
        guard let fields = state.route?.securityFields ?? state.snapshot?.shared.securityFields else { return }
        fields.append(to: &exchange.responseFields, isSecure: state.isSecure)
    }

    func appendRequestIDField(_ exchange: Exchange) {
        exchange.responseFields.append("X-Request-Id: " as StaticString)
        requestID(exchange).append(to: &exchange.responseFields)
        exchange.responseFields.append("\r\n" as StaticString)
    }

    func appendCookieClearing(_ exchange: Exchange, _ snapshot: GatewaySnapshot) {
        exchange.responseFields.append("Set-Cookie: " as StaticString)
        exchange.responseFields.append(snapshot.cookieClearing)
        exchange.responseFields.append("\r\n" as StaticString)
    }
}

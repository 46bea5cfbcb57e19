import EventLoop
import HTTPModel
import ProxyCore

extension GatewayFilter {
    /// Notes the facts of the request that later stages and the log need; refuses what no route could make good.
    func begin(_ exchange: Exchange, _ state: ExchangeState, _ snapshot: GatewaySnapshot) -> LocalResponse? {
        let bytes = exchange.headBytes
        state.method.append(bytes, exchange.head.methodRange.range)
        nameHost(exchange, state, bytes)
        identifyClient(exchange, state, snapshot, bytes)
        state.isNavigation = isNavigation(exchange, bytes)
        guard let settings = snapshot.listener(of: exchange) else {
            var response = refuse(exchange, state, status: 503, reason: "listener_gone")
            response.closes = true
            return response
        }
        state.listenerTimeout = settings.requestTimeout
        if let refusal = misdirected(exchange, state, settings) { return refusal }
        switch exchange.head.method {
        case .connect:
            var response = refuse(exchange, state, status: 501, reason: "connect")
            // What follows would be the tunnel's bytes, no request.
            response.closes = true
            return response
        case .trace: return refuse(exchange, state, status: 405, reason: "trace")
        default: break
        }
        if isAboutServer(exchange) { return serverOptions(exchange, state) }
        guard exchange.head.form == .origin || exchange.head.form == .absolute else {
            return refuse(exchange, state, status: 400, reason: "target_form")
        }
        if let error = RequestTarget.normalize(
            path: bytes.extracting(exchange.head.path.range), policy: settings.targetPolicy, into: &normalized)
        {
            return refuse(exchange, state, status: error.status, reason: "target.\(error)")
        }
        normalized.appendBytes(to: &exchange.target)
        state.pathCount = exchange.target.count
        if exchange.head.query.count > 0 || hasQuestionMark(exchange, bytes) {
            exchange.target.append(UInt8(ascii: "?"))
            exchange.target.append(bytes, exchange.head.query.range)
        }
        if let refusal = removeManagedFields(exchange, state, settings) { return refusal }
        if let port = settings.redirectToHTTPSPort, !state.isSecure {
            return redirectToHTTPS(exchange, state, port: port)
        }
        guard state.isSecure || !namesHTTPS(exchange, bytes) else {
            return refuse(exchange, state, status: 421, reason: "scheme")
        }
        return nil
    }

    /// Whether the target is an `https` URL: nobody may be served one without TLS (RFC 9110 section 7.4).
    private func namesHTTPS(_ exchange: Exchange, _ bytes: Span<UInt8>) -> Bool {
        guard exchange.head.form == .absolute else { return false }
        // The scheme is `http` or `https`, in any case.
        return bytes[Int(exchange.head.target.start) + 4] | 0x20 == UInt8(ascii: "s")
    }

    /// Whether an OPTIONS asks about the server, not a resource (RFC 9110 section 9.3.7): `*`, or a URL with neither path
    /// nor query, which is the same (RFC 9112 section 3.2.4).
    private func isAboutServer(_ exchange: Exchange) -> Bool {
        guard exchange.head.method == .options else { return false }
        switch exchange.head.form {
        case .asterisk: return true
        case .absolute:
            return exchange.head.path.count == 0 && exchange.head.query.count == 0
                && !hasQuestionMark(exchange, exchange.headBytes)
        case .origin, .authority: return false
        }
    }

    /// The connection's handshake must have run under the rules that hold for the request's host: those of the name
    /// that the client asked for say nothing of another host (RFC 9110 section 15.5.20).
    private func misdirected(
        _ exchange: Exchange, _ state: ExchangeState, _ listener: GatewaySnapshot.Listener
    ) -> LocalResponse? {
        guard let tls = listener.tls else { return nil }
        let number = state.host.withBytes { tls.policy(forName: $0) }
        guard let handshake = exchange.handshake, handshake.policy == tls.policies[number] else {
            return refuse(exchange, state, status: 421, reason: "tls_policy")
        }
        guard let certificate = handshake.clientCertificate else { return nil }
        let now = currentEpochSeconds()
        // As if the client came now: with a new handshake it learns why.
        guard now < certificate.goodUntil, now < handshake.policy.revocationsEnd ?? .max else {
            var response = refuse(exchange, state, status: 421, reason: "client_certificate_ended")
            response.closes = true
            return response
        }
        state.certificateSource = listener.certificateSources[number]
        return nil
    }

    /// Finds route and rule.
    func route(_ exchange: Exchange, _ state: ExchangeState, _ snapshot: GatewaySnapshot) -> LocalResponse? {
        if let answer = ownPath(exchange, state) { return answer }
        guard let index = matchedRoute(exchange, state, snapshot) else {
            return refuse(exchange, state, status: 404, reason: "no_route")
        }
        let route = snapshot.routes[index]
        state.route = route
        if !normalized.encodedSpecials.isEmpty, !route.allowsEncodedBytes(of: exchange.target) {
            return refuse(exchange, state, status: 400, reason: "target.encoded_byte")
        }
        let hasRequestMethod = exchange.head.firstIndex(of: .accessControlRequestMethod) != nil
        state.isPreflight = state.method.withBytes {
            CompiledRoute.isPreflight(method: $0, hasRequestMethodField: hasRequestMethod)
        }
        let isPreflight = state.isPreflight
        switch state.method.withBytes({ route.match(method: $0, isPreflight: isPreflight) }) {
        case .notAllowed: return methodNotAllowed(exchange, state, route)
        case .noRules: state.rule = nil
        case .rule(let rule): state.rule = rule
        }
        if normalized.hasAlternativeReadings, !allReadingsAgree(snapshot, route, state) {
            return refuse(exchange, state, status: 400, reason: "target.ambiguous")
        }
        if let bodyBytesMax = route.bodyBytesMax { exchange.bodyBytesMax = UInt64(bodyBytesMax) }
        exchange.trailers = route.trailers
        exchange.allowsUpgrade = route.target != .identity
        if let timeout = route.requestTimeout ?? state.listenerTimeout {
            state.deadline = loop.now.advanced(byNanoseconds: timeout)
        }
        return nil
    }

    /// Two readings, two rules: the request is refused. The rule is the same where the route is: the method is one.
    private func allReadingsAgree(_ snapshot: GatewaySnapshot, _ route: CompiledRoute, _ state: ExchangeState) -> Bool {
        var agree = true
        let error = normalized.alternativeReadings { reading in
            agree = state.host.withBytes { snapshot.table.match(host: $0, path: reading) } == route.index
            return agree
        }
        return agree && error == nil
    }

    private func matchedRoute(_ exchange: Exchange, _ state: ExchangeState, _ snapshot: GatewaySnapshot) -> Int? {
        let pathCount = state.pathCount
        return state.host.withBytes { host in
            exchange.target.withBytes { target in
                snapshot.table.match(host: host, path: target.extracting(0..<pathCount))
            }
        }
    }

    /// The authority's host, lower case, without port and trailing dot.
    private func nameHost(_ exchange: Exchange, _ state: ExchangeState, _ bytes: Span<UInt8>) {
        let authority = bytes.extracting(exchange.head.authority.range)
        if hostName.read(authority) { hostName.appendBytes(to: &state.host) }
    }

    /// `/x?` and `/x` are different targets for an application; an empty query is kept as it came.
    private func hasQuestionMark(_ exchange: Exchange, _ bytes: Span<UInt8>) -> Bool {
        let end = Int(exchange.head.target.start) + Int(exchange.head.target.count)
        return end > 0 && bytes[end - 1] == UInt8(ascii: "?")
    }

    private func removeManagedFields(
        _ exchange: Exchange, _ state: ExchangeState, _ listener: GatewaySnapshot.Listener
    ) -> LocalResponse? {
        let bytes = exchange.headBytes
        for index in 0..<exchange.head.fields.count {
            let field = exchange.head.fields[index]
            let name = bytes.extracting(field.name.range)
            switch listener.managedFields.verdict(name: name, hasUnusualByte: field.hasUnusualName) {
            case .keep: continue
            case .drop: exchange.head.fields[index].isDropped = true
            case .refuse: return refuse(exchange, state, status: 400, reason: "field_name")
            }
        }
        return nil
    }

    /// Who asks and how: by the socket, or by what a chain of trusted peers says.
    private func identifyClient(
        _ exchange: Exchange, _ state: ExchangeState, _ snapshot: GatewaySnapshot, _ bytes: Span<UInt8>
    ) {
        state.isSecure = exchange.isSecure
        state.port = exchange.listenerPort
        guard !snapshot.trustedProxies.isEmpty, snapshot.trustedProxies.contain(peer: exchange.peer) else { return }
        var chain: [String] = []
        for index in 0..<exchange.head.fields.count where exchange.head.fields[index].known == .xForwardedFor {
            chain.append(text(bytes, exchange.head.fields[index].value))
        }
        exchange.clientAddress = snapshot.trustedProxies.client(in: chain, peer: exchange.peer)
        readForwardedOrigin(exchange, state, bytes)
    }

    /// Scheme, host and port that a trusted peer took the request by. Each counts if it came in one line with one sound
    /// value; what does not count is as if it had not come. Host takes no part in the choice of the route.
    private func readForwardedOrigin(_ exchange: Exchange, _ state: ExchangeState, _ bytes: Span<UInt8>) {
        var namedPort: UInt16?
        var isSchemeKnown = true
        if let host = onlyLine(of: .xForwardedHost, exchange), hostName.read(bytes.extracting(host.range)) {
            state.forwardedHost = host
            namedPort = hostName.port
        }
        if let line = onlyLine(of: .xForwardedProto, exchange) {
            switch text(bytes, line).lowercased() {
            case "https": state.isSecure = true
            case "http": state.isSecure = false
            default: isSchemeKnown = false
            }
            if state.forwardedHost == nil, hostName.read(bytes.extracting(exchange.head.authority.range)) {
                namedPort = hostName.port
            }
            if isSchemeKnown { state.port = namedPort ?? (state.isSecure ? 443 : 80) }
        }
        if let line = onlyLine(of: .xForwardedPort, exchange) {
            let digits = text(bytes, line)
            let isNumber = digits.utf8.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
            if isNumber, let port = UInt16(digits), port > 0 { state.port = port }
        }
    }

    private func onlyLine(of known: KnownField, _ exchange: Exchange) -> ByteRange? {
        var found: ByteRange?
        for index in 0..<exchange.head.fields.count where exchange.head.fields[index].known == known {
            guard found == nil else { return nil }
            found = exchange.head.fields[index].value
        }
        return found
    }

    func text(_ bytes: Span<UInt8>, _ range: ByteRange) -> String {
        String(decoding: bytes.extracting(range.range))
    }
}

extension ByteRange {
    /// As indices of the head's bytes.
    var range: Range<Int> { Int(start)..<Int(start) + Int(count) }
}

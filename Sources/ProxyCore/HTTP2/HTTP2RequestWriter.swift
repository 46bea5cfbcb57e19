internal import HTTPModel

/// What became of a request's field section.
enum HTTP2RequestReading: Equatable {
    /// It was written as the head of an HTTP/1.1 request.
    case written(contentLength: UInt64?, isExtendedConnect: Bool)
    /// RFC 9113 sections 8.1 to 8.3 call it malformed: nothing of it may be passed on.
    case malformed
    /// It is well-formed, and answered with this status.
    case refused(status: Int)
}

/// Writes the field section of an HTTP/2 request as an HTTP/1.1 head, which `RequestHead.parse` then judges like any
/// other: there is one reading of a request for both versions.
///
/// Every byte is checked against the grammar of its place before a head is given out, so that none can become syntax.
/// Fields keep their order; cookies are joined where the first of them stands, and `:authority` becomes Host, in front.
struct HTTP2RequestWriter {
    private var method = 0..<0
    private var scheme: Range<Int>?
    private var path: Range<Int>?
    private var authority: Range<Int>?
    private var connectProtocol: Range<Int>?
    private var hasMethod = false
    private var host: Range<Int>?
    private var contentLength: UInt64?
    private var hasCookie = false

    /// Writes a request into `head`, which is empty, and stays so unless the result is `written`.
    static func write(
        _ section: Span<UInt8>, endsStream: Bool, allowsExtendedConnect: Bool, into head: inout ByteBuffer
    ) -> HTTP2RequestReading {
        var writer = HTTP2RequestWriter()
        let reading = writer.write(
            section, endsStream: endsStream, allowsExtendedConnect: allowsExtendedConnect, into: &head)
        guard case .written = reading else {
            head.removeAll()
            return reading
        }
        return reading
    }

    /// Writes trailers as field lines; `false`, and nothing written, if they are malformed.
    static func writeTrailers(_ section: Span<UInt8>, into lines: inout ByteBuffer) -> Bool {
        var fields = HTTP2FieldSection()
        while let field = fields.next(section) {
            let kind = HTTP2FieldGrammar.kind(section, field.name)
            guard HTTP2FieldGrammar.isName(section, field.name), HTTP2FieldGrammar.isValue(section, field.value),
                kind != .connectionSpecific, kind != .te
            else {
                lines.removeAll()
                return false
            }
            appendLine(section, field, to: &lines)
        }
        return true
    }

    private mutating func write(
        _ section: Span<UInt8>, endsStream: Bool, allowsExtendedConnect: Bool, into head: inout ByteBuffer
    ) -> HTTP2RequestReading {
        var fields = HTTP2FieldSection()
        var next = fields.next(section)
        while let field = next, !field.name.isEmpty, section[field.name.lowerBound] == UInt8(ascii: ":") {
            guard takePseudoField(field, section) else { return .malformed }
            next = fields.next(section)
        }
        guard arePseudoFieldsValid(section, allowsExtendedConnect: allowsExtendedConnect) else { return .malformed }
        let isConnect = HTTP2FieldGrammar.holds("CONNECT", section, method)
        writeLine(section, method: isConnect ? nil : method, into: &head)
        while let field = next {
            guard takeField(field, section, rest: fields, into: &head) else { return .malformed }
            next = fields.next(section)
        }
        guard let authority = authority ?? host, !authority.isEmpty else { return .malformed }
        guard !endsStream || (contentLength ?? 0) == 0 else { return .malformed }
        if let status = policyStatus(section, isConnect: isConnect, endsStream: endsStream) {
            return .refused(status: status)
        }
        if isConnect {
            head.append("connection: upgrade\r\nupgrade: websocket\r\n" as StaticString)
        } else if !endsStream, contentLength == nil {
            head.append("transfer-encoding: chunked\r\n" as StaticString)
        }
        head.append("\r\n" as StaticString)
        return .written(contentLength: contentLength, isExtendedConnect: isConnect)
    }

    // MARK: Pseudo fields (RFC 9113 section 8.3.1)

    /// Notes one; `false` if there is none of that name, or two.
    private mutating func takePseudoField(_ field: HTTP2Field, _ section: Span<UInt8>) -> Bool {
        let name = field.name
        if HTTP2FieldGrammar.holds(":method", section, name) {
            guard !hasMethod else { return false }
            hasMethod = true
            method = field.value
        } else if HTTP2FieldGrammar.holds(":path", section, name) {
            guard path == nil else { return false }
            path = field.value
        } else if HTTP2FieldGrammar.holds(":scheme", section, name) {
            guard scheme == nil else { return false }
            scheme = field.value
        } else if HTTP2FieldGrammar.holds(":authority", section, name) {
            guard authority == nil else { return false }
            authority = field.value
        } else if HTTP2FieldGrammar.holds(":protocol", section, name) {
            guard connectProtocol == nil else { return false }
            connectProtocol = field.value
        } else {
            return false
        }
        return true
    }

    /// Whether the right pseudo fields are there, each in its grammar.
    private func arePseudoFieldsValid(_ section: Span<UInt8>, allowsExtendedConnect: Bool) -> Bool {
        guard HTTP2FieldGrammar.isToken(section, method) else { return false }
        let isConnect = HTTP2FieldGrammar.holds("CONNECT", section, method)
        if let authority {
            guard !authority.isEmpty, HTTP2FieldGrammar.isSolid(section, authority) else { return false }
            for index in authority where section[index] == UInt8(ascii: "@") { return false }
        }
        if let connectProtocol {
            // RFC 8441 section 4: with :scheme and :path, unlike a plain CONNECT, and only where it was offered.
            guard allowsExtendedConnect, isConnect, authority != nil,
                HTTP2FieldGrammar.isToken(section, connectProtocol)
            else { return false }
        } else if isConnect {
            return scheme == nil && path == nil && authority != nil
        }
        guard let scheme, isScheme(section, scheme), let path, let first = path.first else { return false }
        guard HTTP2FieldGrammar.isSolid(section, path) else { return false }
        if section[first] == UInt8(ascii: "/") { return true }
        return HTTP2FieldGrammar.holds("*", section, path) && HTTP2FieldGrammar.holds("OPTIONS", section, method)
    }

    /// `scheme` of RFC 3986 section 3.1.
    private func isScheme(_ section: Span<UInt8>, _ range: Range<Int>) -> Bool {
        for index in range {
            let byte = section[index]
            let isLetter = (byte | 0x20) &- 0x61 < 26
            let isOther =
                byte &- 0x30 < 10 || byte == UInt8(ascii: "+") || byte == UInt8(ascii: "-")
                || byte == UInt8(ascii: ".")
            guard isLetter || isOther && index > range.lowerBound else { return false }
        }
        return !range.isEmpty
    }

    // MARK: Fields (RFC 9113 section 8.2)

    /// Checks one and writes its line; `false` if it makes the request malformed.
    private mutating func takeField(
        _ field: HTTP2Field, _ section: Span<UInt8>, rest: HTTP2FieldSection, into head: inout ByteBuffer
    ) -> Bool {
        // A pseudo field behind a regular one has no field's name.
        guard HTTP2FieldGrammar.isName(section, field.name), HTTP2FieldGrammar.isValue(section, field.value) else {
            return false
        }
        switch HTTP2FieldGrammar.kind(section, field.name) {
        case .ordinary: break
        case .connectionSpecific: return false
        case .te:
            guard HTTP2FieldGrammar.holds("trailers", ignoringCase: true, section, field.value) else { return false }
        case .host:
            guard host == nil, agrees(section, field.value) else { return false }
            host = field.value
            if authority != nil { return true }
        case .contentLength:
            guard contentLength == nil, let length = HTTP2FieldGrammar.decimal(section, field.value) else {
                return false
            }
            contentLength = length
        case .cookie:
            if !hasCookie { writeCookies(field, section, rest: rest, into: &head) }
            hasCookie = true
            return true
        case .webSocketKey:
            // Has no meaning in HTTP/2 (RFC 8441 section 5); whoever opens the HTTP/1.1 connection makes one.
            if connectProtocol != nil { return true }
        }
        HTTP2RequestWriter.appendLine(section, field, to: &head)
        return true
    }

    /// Whether Host names what `:authority` names (RFC 9113 section 8.3.1): the same host, compared as hosts are, and
    /// the same port, of which the scheme has a default.
    private func agrees(_ section: Span<UInt8>, _ value: Range<Int>) -> Bool {
        guard let authority else { return !value.isEmpty }
        guard !isEqual(section, authority, value) else { return true }
        var wanted = HostName()
        var named = HostName()
        guard wanted.read(section.extracting(authority)), named.read(section.extracting(value)) else { return false }
        let isPlain = scheme.map { HTTP2FieldGrammar.holds("http", ignoringCase: true, section, $0) } ?? false
        let standard: UInt16 = isPlain ? 80 : 443
        guard wanted.port ?? standard == named.port ?? standard, wanted.bytes.count == named.bytes.count else {
            return false
        }
        for index in 0..<wanted.bytes.count where wanted.bytes[index] != named.bytes[index] { return false }
        return true
    }

    private func isEqual(_ section: Span<UInt8>, _ first: Range<Int>, _ second: Range<Int>) -> Bool {
        guard first.count == second.count else { return false }
        for offset in 0..<first.count
        where section[first.lowerBound + offset] != section[second.lowerBound + offset] { return false }
        return true
    }

    /// Joins this cookie and all that follow with `; ` (RFC 9113 section 8.2.3). Those are checked when their turn comes.
    private func writeCookies(
        _ first: HTTP2Field, _ section: Span<UInt8>, rest: HTTP2FieldSection, into head: inout ByteBuffer
    ) {
        head.append("cookie: " as StaticString)
        head.append(section, first.value)
        var isEmpty = first.value.isEmpty
        var rest = rest
        while let field = rest.next(section) {
            guard HTTP2FieldGrammar.holds("cookie", section, field.name), !field.value.isEmpty else { continue }
            if !isEmpty { head.append("; " as StaticString) }
            head.append(section, field.value)
            isEmpty = false
        }
        head.append("\r\n" as StaticString)
    }

    // MARK: Policy

    /// The status that answers what is well-formed and not served; `nil`: it is served.
    private func policyStatus(_ section: Span<UInt8>, isConnect: Bool, endsStream: Bool) -> Int? {
        if isConnect {
            guard let connectProtocol,
                HTTP2FieldGrammar.holds("websocket", ignoringCase: true, section, connectProtocol)
            else { return 501 }
            // A tunnel has no body of known length, and is no tunnel when one side has ended.
            return contentLength != nil || endsStream ? 400 : nil
        }
        guard let scheme else { return 400 }
        let isServed =
            HTTP2FieldGrammar.holds("https", ignoringCase: true, section, scheme)
            || HTTP2FieldGrammar.holds("http", ignoringCase: true, section, scheme)
        return isServed ? nil : 400
    }

    // MARK: Lines

    /// The request line, and Host if `:authority` gives it. No method: a WebSocket handshake.
    private func writeLine(_ section: Span<UInt8>, method: Range<Int>?, into head: inout ByteBuffer) {
        if let method { head.append(section, method) } else { head.append("GET" as StaticString) }
        head.append(UInt8(ascii: " "))
        if let path { head.append(section, path) }
        head.append(" HTTP/1.1\r\n" as StaticString)
        guard let authority else { return }
        head.append("host: " as StaticString)
        head.append(section, authority)
        head.append("\r\n" as StaticString)
    }

    private static func appendLine(_ section: Span<UInt8>, _ field: HTTP2Field, to lines: inout ByteBuffer) {
        lines.append(section, field.name)
        lines.append(": " as StaticString)
        lines.append(section, field.value)
        lines.append("\r\n" as StaticString)
    }
}

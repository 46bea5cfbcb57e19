internal import IdentityModel

extension SettingType where Value == String {
    /// A host of routes: a name, an address, or `*.` and a name; lower case, without port and trailing dot.
    static let hostPattern = SettingType(
        name: "host", allowed: "a host name without port, such as app.example.com or *.example.com",
        schema: .members(["type": .string("string")]),
        read: { text throws(Refusal) in
            if text == "*" { throw Refusal("'*' alone is no host", cure: "leave 'host' out to mean every host") }
            guard text.utf8.allSatisfy({ $0 < 0x80 }) else {
                throw Refusal("\(text.quoted) is not ASCII", cure: "write the form that begins with xn--")
            }
            var host = text.lowercased()
            if host.hasSuffix("."), host.utf8.count > 1 { host.removeLast() }
            let name = host.hasPrefix("*.") ? String(host.dropFirst(2)) : host
            if HostName.isName(name) || (!host.hasPrefix("*.") && HostName.addressBytes(host)?.count == 4) {
                return host
            }
            if host.hasPrefix("["), host.hasSuffix("]"),
                HostName.addressBytes(String(host.dropFirst().dropLast()))?.count == 16
            {
                return host
            }
            throw Refusal("\(text.quoted) is no host")
        },
        show: { $0 })

    /// A path pattern: `*` stands for one segment, a final `**` for the rest.
    static let pathPattern = SettingType(
        name: "path pattern", allowed: "an absolute path such as /, /invoices/** or /users/*/photo",
        schema: .members(["type": .string("string"), "pattern": .string("^(/|\\$)")]),
        read: { text throws(Refusal) in
            if let refusal = PathPatterns.refusal(of: text) { throw refusal }
            return text
        },
        show: { $0 })

    /// The domain of a cookie (RFC 6265 section 4.1.2.3), without its leading dot.
    static let cookieDomain = SettingType(
        name: "domain", allowed: "a parent domain of the hosts, such as example.com",
        schema: .members(["type": .string("string")]),
        read: { text throws(Refusal) in
            let domain = (text.hasPrefix(".") ? String(text.dropFirst()) : text).lowercased()
            guard HostName.isName(domain) else { throw Refusal("\(text.quoted) is no domain") }
            guard domain.contains(".") else {
                throw Refusal("\(text.quoted) has one label, and browsers refuse cookies for it")
            }
            return domain
        },
        show: { $0 })

    /// The name of a cookie (RFC 6265 section 4.1.1).
    static let cookieName = SettingType(
        name: "cookie name", allowed: "1 to 64 letters, digits and marks of a token",
        schema: .members(["type": .string("string")]),
        read: { text throws(Refusal) in
            guard (1...64).contains(text.utf8.count), text.utf8.allSatisfy(Bytes.isTokenByte) else {
                throw Refusal("\(text.quoted) is no cookie name")
            }
            return text
        },
        show: { $0 })

    /// A method in capitals. CONNECT is no request for an upstream.
    static let method = SettingType(
        name: "method", allowed: "a method in capitals, such as GET or POST; CONNECT is not forwarded",
        schema: .members(["type": .string("string"), "pattern": .string("^[A-Z-]{1,32}$")]),
        read: { text throws(Refusal) in
            guard (1...32).contains(text.utf8.count),
                text.utf8.allSatisfy({ (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0) || $0 == UInt8(ascii: "-") }
                )
            else {
                throw Refusal("\(text.quoted) is no method")
            }
            guard text != "CONNECT" else { throw Refusal("CONNECT is not forwarded") }
            return text
        },
        show: { $0 })

    /// An absolute `https` or `http` URL without user, query and fragment.
    static let url = SettingType(
        name: "URL", allowed: "an https or http URL without user, query and fragment",
        schema: .members(["type": .string("string"), "pattern": .string("^(https?://|\\$)")]),
        read: { text throws(Refusal) in
            guard WebURL(text) != nil else { throw Refusal("\(text.quoted) is no such URL") }
            return text
        },
        show: { $0 })

    /// What a JWT's `iss` or `aud` holds: a URL or any other word.
    static let tokenName = SettingType(
        name: "text", allowed: "1 to 256 printable characters without spaces",
        schema: .members(["type": .string("string"), "minLength": .integer(1), "maxLength": .integer(256)]),
        read: { text throws(Refusal) in
            let isPlain = text.utf8.allSatisfy { (0x21...0x7E).contains($0) }
            guard (1...256).contains(text.utf8.count), isPlain else { throw Refusal("\(text.quoted) is no such text") }
            return text
        },
        show: { $0 })
}

/// The parts of an absolute URL that the checks look at.
struct WebURL {
    let scheme: String
    let host: String
    let port: UInt16?
    let path: String

    init?(_ text: String) {
        guard text.utf8.count <= 2048, text.utf8.allSatisfy({ (0x21...0x7E).contains($0) }) else { return nil }
        guard !text.utf8.contains(where: { "\\\"<>^`{|}?#@".utf8.contains($0) }) else { return nil }
        guard let scheme = ["https", "http"].first(where: { text.hasPrefix($0 + "://") }) else { return nil }
        let rest = text.dropFirst(scheme.count + 3)
        let authority = rest.prefix { $0 != "/" }
        let hasPort = !authority.hasSuffix("]") && authority.contains(":")
        let withPort = hasPort ? String(authority) : "\(authority):1"
        guard case .tcp(let host, let port)? = try? SocketAddresses.parse(withPort, ports: 1...65535) else {
            return nil
        }
        self.scheme = scheme
        self.host = host
        self.port = hasPort ? port : nil
        path = String(rest.dropFirst(authority.count))
    }
}

enum PathPatterns {
    static let segmentsMax = 64

    /// Why the text is no pattern; `nil` when it is one.
    static func refusal(of text: String) -> Refusal? {
        guard text.hasPrefix("/") else { return Refusal("\(text.quoted) does not begin with '/'") }
        guard text.utf8.count <= 1024, text.utf8.allSatisfy({ (0x21...0x7E).contains($0) }) else {
            return Refusal("\(text.quoted) holds bytes that no path has", cure: "write them as %XX, 1024 bytes at most")
        }
        guard !text.utf8.contains(where: { "?#\\".utf8.contains($0) }) else {
            return Refusal(
                "\(text.quoted) holds '?', '#' or '\\'", cure: "match the path alone; the query takes no part")
        }
        let segments = text.dropFirst().split(separator: "/", omittingEmptySubsequences: false)
        guard segments.count <= segmentsMax else { return Refusal("the path has more than \(segmentsMax) segments") }
        for (index, segment) in segments.enumerated() {
            if let refusal = refusal(of: segment, isLast: index == segments.count - 1) { return refusal }
        }
        if segments.first == ".gateway" {
            return Refusal("paths below /.gateway are the gateway's own", cure: "choose another path")
        }
        return nil
    }

    private static func refusal(of segment: Substring, isLast: Bool) -> Refusal? {
        if segment.isEmpty, !isLast { return Refusal("the path holds '//'", cure: "write single slashes") }
        if segment == "." || segment == ".." {
            return Refusal("the path holds a dot segment", cure: "write it resolved")
        }
        if segment == "**" {
            return isLast
                ? nil : Refusal("'**' stands inside the path", cure: "use '*' for one segment, '**' at the end")
        }
        if segment.contains("*"), segment != "*" {
            return Refusal("'*' stands beside other characters in a segment", cure: "let '*' stand for a whole segment")
        }
        return PercentEscapes.areValid(segment) ? nil : Refusal("the path holds a '%' that begins no escape")
    }
}

enum PercentEscapes {
    static func areValid(_ text: Substring) -> Bool {
        text.split(separator: "%", omittingEmptySubsequences: false).dropFirst().allSatisfy {
            $0.utf8.count >= 2 && $0.utf8.prefix(2).allSatisfy(Bytes.isHexDigit)
        }
    }
}

extension SettingType where Value == UInt8 {
    /// One of the encoded bytes that a route may let through: `%00` to `%1F`, `%2F`, `%5C`, `%7F`.
    static let encodedByte = SettingType(
        name: "encoded byte", allowed: "'%2F', '%5C', '%00', or another encoded control byte",
        schema: .members(["type": .string("string"), "pattern": .string("^%([01][0-9A-Fa-f]|2[Ff]|5[Cc]|7[Ff])$")]),
        read: { text throws(Refusal) in
            guard text.utf8.count == 3, text.hasPrefix("%"), text.utf8.dropFirst().allSatisfy(Bytes.isHexDigit),
                let byte = UInt8(text.dropFirst(), radix: 16), byte < 0x20 || [0x2F, 0x5C, 0x7F].contains(byte)
            else { throw Refusal("\(text.quoted) is none of the bytes refused by default") }
            return byte
        },
        show: { byte in "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16, uppercase: true) })
}

extension SettingType where Value == Scope {
    /// A scope token; `*` stands for a whole segment between colons.
    static let scope = SettingType(
        name: "scope", allowed: "a scope such as invoices:read or api:*:read",
        schema: .members(["type": .string("string"), "minLength": .integer(1), "maxLength": .integer(256)]),
        read: { text throws(Refusal) in
            guard let scope = Scope(text) else { throw Refusal("\(text.quoted) is no scope") }
            let hasBadStar = text.split(separator: ":", omittingEmptySubsequences: false).contains {
                $0 != "*" && $0.contains("*")
            }
            guard !hasBadStar else {
                throw Refusal(
                    "'*' stands beside other characters in \(text.quoted)",
                    cure: "let it stand for a whole segment, as in api:*:read")
            }
            return scope
        },
        show: { $0.name })
}

extension SettingType where Value == Role {
    static let role = SettingType(
        name: "role", allowed: "1 to 64 letters, digits, '_', '-', '.' or ':'",
        schema: .members(["type": .string("string"), "pattern": .string("^[A-Za-z0-9_.:-]{1,64}$")]),
        read: { text throws(Refusal) in
            guard let role = Role(text) else { throw Refusal("\(text.quoted) is no role") }
            return role
        },
        show: { $0.name })
}

extension SettingType where Value == CredentialKind {
    /// A kind of credential that a route may accept.
    static let credential = SettingType(
        name: "word", allowed: "session, jwt or certificate",
        schema: .members(["enum": .array([.string("session"), .string("jwt"), .string("certificate")])]),
        read: { text throws(Refusal) in
            guard let kind = CredentialKind(rawValue: text), kind != .none else {
                throw Refusal("\(text.quoted) is no kind of credential")
            }
            return kind
        },
        show: { $0.rawValue })
}

extension SettingType where Value == String {
    /// A field that may stand behind a body: not what decides how a message is read, who sent it, or what may be done
    /// with it (RFC 9110 section 6.5.1).
    static let trailerName = SettingType(
        name: "field name",
        allowed: "a field name of letters, digits and '-' that may be a trailer, such as Server-Timing",
        schema: .members(["type": .string("string"), "pattern": .string("^[A-Za-z][A-Za-z0-9-]{0,63}$")]),
        read: { text throws(Refusal) in
            let name = text.lowercased()
            guard (1...64).contains(name.utf8.count),
                name.utf8.first.map({ (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0) }) == true,
                name.utf8.allSatisfy({ byte in
                    switch byte {
                    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
                        UInt8(ascii: "-"):
                        true
                    default: false
                    }
                })
            else { throw Refusal("\(text.quoted) is no field name of letters, digits and '-'") }
            guard !fieldsNeverTrailers.contains(name) else { throw Refusal("\(text.quoted) may not be a trailer") }
            return name
        },
        show: { $0 })

    private static let fieldsNeverTrailers: Set<String> = [
        "content-length", "transfer-encoding", "connection", "keep-alive", "proxy-connection", "te", "trailer",
        "upgrade", "http2-settings", "host", "expect", "max-forwards", "range", "content-encoding", "content-type",
        "content-range", "authorization", "proxy-authorization", "proxy-authenticate", "www-authenticate", "cookie",
        "set-cookie", "age", "cache-control", "date", "expires", "location", "pragma", "retry-after", "vary", "warning",
        "if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range", "x-request-id",
        "traceparent", "tracestate",
    ]
}

extension SettingType where Value == GatewayConfiguration.RunAs {
    /// `user` or `user:group`.
    static let runAs = SettingType(
        name: "user", allowed: "user or user:group",
        schema: .members(["type": .string("string")]),
        read: { text throws(Refusal) in
            let parts = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
            for part in parts { _ = try SettingType<String>.name.read(part) }
            guard parts.count <= 2 else { throw Refusal("\(text.quoted) has more than two parts") }
            return .init(user: parts[0], group: parts.count == 2 ? parts[1] : nil)
        },
        show: { runAs in runAs.group.map { "\(runAs.user):\($0)" } ?? runAs.user })
}

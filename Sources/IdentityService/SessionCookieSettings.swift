/// Name and attributes of the session cookie. It is always `HttpOnly`, `SameSite=Lax` and for `Path=/`.
public struct SessionCookieSettings: Sendable, Equatable {
    /// The cookie's name, prefix included.
    public let name: String
    /// The domain whose hosts share the cookie; `nil` keeps it on the host that set it.
    public let domain: String?
    /// Whether it is for TLS only.
    public let isSecure: Bool

    /// Without a name it is `__Host-gateway_session` where browsers accept that prefix (TLS, no domain), else
    /// `gateway_session`.
    ///
    /// `nil` when the name is no cookie name (RFC 6265 section 4.1.1), when its prefix promises what the other two
    /// settings do not keep (RFC 6265bis section 4.1.3), or when the domain is no lower-case host name.
    public init?(name: String? = nil, domain: String? = nil, isSecure: Bool) {
        let name = name ?? (isSecure && domain == nil ? "__Host-gateway_session" : "gateway_session")
        guard (1...64).contains(name.utf8.count), name.utf8.allSatisfy(isTokenByte),
            domain.map(isHostName) ?? true
        else { return nil }
        if name.lowercased().hasPrefix("__host-"), !isSecure || domain != nil { return nil }
        if name.lowercased().hasPrefix("__secure-"), !isSecure { return nil }
        self.name = name
        self.domain = domain
        self.isSecure = isSecure
    }

    /// The field value that stores a session's token in the browser, until the session's own end at the latest.
    func setting(_ token: String, forSeconds seconds: Int64) -> String {
        "\(name)=\(token); Path=/; Max-Age=\(seconds)\(attributes)"
    }

    /// The field value that takes the cookie away.
    public var clearing: String { "\(name)=; Path=/; Max-Age=0\(attributes)" }

    private var attributes: String {
        (domain.map { "; Domain=\($0)" } ?? "") + (isSecure ? "; Secure" : "") + "; HttpOnly; SameSite=Lax"
    }
}

/// RFC 9110 section 5.6.2.
func isTokenByte(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"):
        true
    default: "!#$%&'*+-.^_`|~".utf8.contains(byte)
    }
}

/// Lower-case labels of letters, digits and `-`, with dots between them; an IPv4 address has this form too.
func isHostName(_ text: some StringProtocol) -> Bool {
    let labels = Substring(text).split(separator: ".", omittingEmptySubsequences: false)
    return text.utf8.count <= 253
        && labels.allSatisfy { label in
            (1...63).contains(label.utf8.count) && label.utf8.first != UInt8(ascii: "-")
                && label.utf8.last != UInt8(ascii: "-")
                && label.utf8.allSatisfy { byte in
                    (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte)
                        || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || byte == UInt8(ascii: "-")
                }
        }
}

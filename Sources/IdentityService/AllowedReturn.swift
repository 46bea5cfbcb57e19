/// Where a browser may be sent after signing in or out.
public struct AllowedReturn: Sendable {
    /// Origins, such as `https://portal.example.com:8443`, without a path.
    public var origins: Set<String>
    /// The session cookie's domain: every host under it is allowed, over TLS.
    public var cookieDomain: String?

    /// Memberwise; without arguments only paths on the same host are allowed.
    public init(origins: Set<String> = [], cookieDomain: String? = nil) {
        self.origins = origins
        self.cookieDomain = cookieDomain
    }

    /// The place that a request asks for, or `/` when it asks for none or for one that is not allowed.
    public func target(_ requested: String?) -> ReturnTarget {
        guard let requested, let target = checked(requested) else { return .home }
        return target
    }

    private func checked(_ text: String) -> ReturnTarget? {
        // Browsers drop tabs and line ends from URLs, and read `\` as `/`: none of that gets any further.
        guard text.utf8.count <= AllowedReturn.bytesMax,
            text.utf8.allSatisfy({ (0x21...0x7E).contains($0) && !AllowedReturn.refusedBytes.contains($0) })
        else { return nil }
        if text.hasPrefix("/") { return isSafePath(text[...]) ? ReturnTarget(location: text, origin: nil) : nil }
        return absolute(text)
    }

    private func absolute(_ text: String) -> ReturnTarget? {
        let isSecure = text.hasPrefix("https://")
        guard isSecure || text.hasPrefix("http://") else { return nil }
        let rest = text.dropFirst(isSecure ? 8 : 7)
        let end = rest.firstIndex { $0 == "/" || $0 == "?" } ?? rest.endIndex
        let authority = rest[..<end].split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        // A host name and a port in plain digits: no user name, no brackets, no encoding, no trailing dot.
        guard let host = authority.first, isHostName(host) else { return nil }
        if authority.count == 2, !isPort(authority[1]) { return nil }
        guard rest[end...].isEmpty || isSafePath(rest[end...]) else { return nil }
        let origin = (isSecure ? "https://" : "http://") + rest[..<end]
        guard origins.contains(origin) || (isSecure && isUnderCookieDomain(host)) else { return nil }
        return ReturnTarget(location: text, origin: origin)
    }

    private func isUnderCookieDomain(_ host: Substring) -> Bool {
        guard let cookieDomain else { return false }
        return host == cookieDomain || host.hasSuffix("." + cookieDomain)
    }

    private func isPort(_ text: Substring) -> Bool {
        (1...5).contains(text.utf8.count) && text.utf8.allSatisfy { (0x30...0x39).contains($0) }
            && UInt16(text) != nil && text.utf8.first != 0x30
    }

    /// Whether the path means itself however often it is decoded, so that nothing behind us makes a host out of it.
    private func isSafePath(_ pathAndQuery: Substring) -> Bool {
        guard pathAndQuery.hasPrefix("/") else { return false }
        var path = Array(pathAndQuery.utf8.prefix { $0 != UInt8(ascii: "?") })
        for _ in 0..<AllowedReturn.decodingsMax {
            guard isPlain(path) else { return false }
            guard let decoded = PercentEncoding.decode(path, plusIsSpace: false) else { return false }
            if decoded == path { return true }
            path = decoded
        }
        return false
    }

    private func isPlain(_ path: [UInt8]) -> Bool {
        guard path.allSatisfy({ $0 >= 0x20 && $0 != 0x7F && $0 != UInt8(ascii: "\\") }) else { return false }
        let segments = path.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
        // The first is empty, before the leading slash; the last may be. An empty one between makes `//`.
        return segments.dropFirst().dropLast().allSatisfy { !$0.isEmpty }
            && !segments.contains { $0.elementsEqual(".".utf8) || $0.elementsEqual("..".utf8) }
    }

    static let bytesMax = 2048
    private static let refusedBytes = Array("\\#\"<>`".utf8)
    private static let decodingsMax = 4
}

/// A place that `AllowedReturn` has checked.
public struct ReturnTarget: Sendable, Equatable {
    /// For the `Location` field: a path on this host, or an absolute URL on an allowed one.
    public let location: String
    /// The origin of an absolute URL.
    let origin: String?

    static let home = ReturnTarget(location: "/", origin: nil)

    fileprivate init(location: String, origin: String?) {
        self.location = location
        self.origin = origin
    }
}

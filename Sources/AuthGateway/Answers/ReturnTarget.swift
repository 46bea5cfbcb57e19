/// Where a browser comes back to after signing in: a place on the host that it came from, and nowhere else.
struct ReturnTarget: Equatable, Sendable {
    /// A path with its query, behind an origin where the sign-in page is on another host.
    let text: String

    /// Takes the request's path and query as sent; `nil` for what a browser could read as another host, or could not
    /// send, or that is longer than 2,048 bytes.
    /// - Parameter origin: scheme, host and port of this request, where the sign-in page is on another host. It must be
    ///   known from the configuration, not from fields of the request alone; the sign-in page checks it again.
    init?(path: [UInt8], origin: String? = nil) {
        let slash = UInt8(ascii: "/")
        guard path.first == slash, path.dropFirst().first != slash, path.count <= ReturnTarget.bytesMax else {
            return nil
        }
        guard path.allSatisfy({ (0x21...0x7E).contains($0) && $0 != UInt8(ascii: "\\") && $0 != UInt8(ascii: "#") })
        else { return nil }
        if let origin, !ReturnTarget.isWebURL(origin) || origin.hasPrefix("/") { return nil }
        text = (origin ?? "") + String(decoding: path, as: UTF8.self)
    }

    /// The sign-in page's URL with this target as its parameter `rd`.
    func appended(to signInURL: String) -> String {
        var value: [UInt8] = []
        for byte in text.utf8 {
            if isUnreserved(byte) || byte == UInt8(ascii: "/") {
                value.append(byte)
            } else {
                appendEscape(of: byte, to: &value)
            }
        }
        let mark = signInURL.utf8.contains(UInt8(ascii: "?")) ? "&" : "?"
        return "\(signInURL)\(mark)rd=\(String(decoding: value, as: UTF8.self))"
    }

    /// Whether a link to it stays in the web: an absolute path, `https:` or `http:`.
    static func isWebURL(_ text: String) -> Bool {
        text.hasPrefix("https://") || text.hasPrefix("http://")
            || (text.hasPrefix("/") && !text.hasPrefix("//") && !text.hasPrefix("/\\"))
    }

    static let bytesMax = 2048
}

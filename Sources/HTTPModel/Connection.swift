/// What the Connection lines of one head say (RFC 9110 section 7.6.1).
struct ConnectionOptions {
    /// The most options in one head. Each is compared with every field name, so their number must be bounded.
    static let countMax = 32

    enum Problem { case invalid, protected, tooMany }

    private(set) var hasClose = false
    private(set) var hasKeepAlive = false
    private(set) var hasUpgrade = false
    private var count = 0

    /// Takes the value of one Connection line.
    mutating func read(_ bytes: Span<UInt8>, _ value: Range<Int>) -> Problem? {
        var elements = ListElements(value)
        while let option = elements.next(in: bytes) {
            count += 1
            guard count <= Self.countMax else { return .tooMany }
            for index in option where !ByteTable.has(bytes[index], ByteTable.token) { return .invalid }
            switch KnownField.find(bytes, option) {
            case .host, .contentLength, .transferEncoding, .cookie, .setCookie, .authorization: return .protected
            case .keepAlive: hasKeepAlive = true
            case .upgrade: hasUpgrade = true
            default: if bytes.holds(lowercased: "close", in: option) { hasClose = true }
            }
        }
        return nil
    }

    /// Whether the connection outlives the message (RFC 9112 section 9.3).
    func keepsAlive(minorVersion: UInt8) -> Bool {
        !hasClose && (minorVersion >= 1 || hasKeepAlive)
    }
}

extension FieldTable {
    /// Marks as dropped what concerns one connection only: the fields of RFC 9110 section 7.6.1 and all that the
    /// Connection lines name. Expect stays.
    mutating func markHopByHop(in bytes: Span<UInt8>) {
        var index = 0
        while index < count {
            switch self[index].known {
            case .connection:
                self[index].isDropped = true
                markOptions(of: self[index].value.range, in: bytes)
            case .keepAlive, .proxyConnection, .te, .trailer, .transferEncoding, .upgrade, .http2Settings,
                .proxyAuthenticate, .proxyAuthorization:
                self[index].isDropped = true
            default: break
            }
            index += 1
        }
    }

    private mutating func markOptions(of value: Range<Int>, in bytes: Span<UInt8>) {
        var elements = ListElements(value)
        while let option = elements.next(in: bytes) {
            if bytes.holds(lowercased: "close", in: option) || bytes.holds(lowercased: "keep-alive", in: option) {
                continue
            }
            var index = 0
            while index < count {
                let name = self[index].name.range
                if name.count == option.count, bytes.equalsIgnoringCase(name, option) { self[index].isDropped = true }
                index += 1
            }
        }
    }
}

import GatewayConfig

/// What becomes of a field that a client sent, or a trailer.
enum FieldVerdict: Equatable, Sendable {
    case keep
    /// Leave the field out.
    case drop
    /// Answer the request 400.
    case refuse
}

/// Keeps clients from naming what only the gateway may name, in any spelling that an application takes for the same.
/// HOT: allocates nothing; a usual name costs a look at its first letter.
///
/// Managed names are the gateway's own to write. Protected are those, and the ones that decide how a message is read or
/// who sent it: such a field may come in its own spelling, never in another.
struct ManagedFields: Sendable {
    /// What becomes of a name with `_` that is no alias of a protected one.
    let underscoreHeaders: GatewayConfiguration.UnderscoreHeaders
    private let managed = FieldNameSet(names: ManagedFields.managedNames, prefixes: ManagedFields.managedPrefixes)
    private let protected = FieldNameSet(
        names: ManagedFields.managedNames.union(ManagedFields.protectedNames),
        prefixes: ManagedFields.managedPrefixes)

    init(underscoreHeaders: GatewayConfiguration.UnderscoreHeaders) { self.underscoreHeaders = underscoreHeaders }

    /// What becomes of a field with this name, on every route alike.
    /// - Parameter hasUnusualByte: the name holds a byte that is neither letter, digit nor `-`.
    func verdict(name: Span<UInt8>, hasUnusualByte: Bool) -> FieldVerdict {
        guard hasUnusualByte else { return managed.contains(folding: name) ? .drop : .keep }
        if protected.contains(folding: name) { return .drop }
        guard ManagedFields.hasUnderscore(name) else { return .keep }
        switch underscoreHeaders {
        case .drop: return .drop
        case .refuse: return .refuse
        case .pass: return .keep
        }
    }

    /// Whether a name of the file, in any spelling, is one that only the gateway writes.
    static func isManaged(_ name: String) -> Bool {
        FieldNameSet(names: managedNames, prefixes: managedPrefixes).contains(folding: Array(name.utf8).span)
    }

    private static func hasUnderscore(_ name: Span<UInt8>) -> Bool {
        for index in name.indices where name[index] == UInt8(ascii: "_") { return true }
        return false
    }

    /// Names that some header preset writes, those of the connection's facts, and those by which applications and their
    /// servers take another path, method, scheme or proxy than the ones that were decided about.
    static let managedNames: Set<String> = [
        "script-name", "path-info", "request-uri", "x-script-name", "x-scheme", "x-rewrite-url",
        "x-http-method-override",
        "x-http-method", "x-method-override", "proxy", "trace-parent",
        "forwarded", "x-real-ip", "remote-user", "remote-groups", "remote-name", "remote-email",
    ]

    static let managedPrefixes: Set<String> = ["x-auth-", "x-forwarded-", "x-original-", "x-authentik-"]

    /// Framing, hop-by-hop, host and credentials, and what the gateway adds for tracing.
    static let protectedNames: Set<String> = [
        "content-length", "transfer-encoding", "connection", "keep-alive", "proxy-connection", "te", "trailer",
        "upgrade", "http2-settings", "proxy-authenticate", "proxy-authorization", "expect", "host", "cookie",
        "authorization", "x-request-id", "traceparent", "tracestate",
    ]
}

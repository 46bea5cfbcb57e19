/// Which cookies are the gateway's: taken out of `Cookie`, and out of an upstream's `Set-Cookie`.
struct SessionCookieNames: Sendable {
    /// The name under which a session is looked for and set.
    let configured: [UInt8]
    /// The configured name and the others, each in its spellings: `__Host-x`, `__Secure-x` and `x`.
    let all: [[UInt8]]

    /// - Parameter others: names without prefix of cookies that are ours too, and no session.
    init(configured name: String, others: [String] = []) {
        let prefixes = ["__Host-", "__Secure-"]
        let base = prefixes.first(where: name.hasPrefix).map { String(name.dropFirst($0.count)) } ?? name
        configured = Array(name.utf8)
        all = ([base] + others).flatMap { base in (prefixes + [""]).map { Array(($0 + base).utf8) } }
    }

    /// Whether a cookie is ours in any spelling. Names are compared with their case, as applications do. HOT.
    func contains(_ name: Span<UInt8>) -> Bool {
        for index in all.indices where SessionCookieNames.isEqual(all[index], name) { return true }
        return false
    }

    private static func isEqual(_ left: [UInt8], _ right: Span<UInt8>) -> Bool {
        guard left.count == right.count else { return false }
        for index in left.indices where left[index] != right[index] { return false }
        return true
    }
}

internal import Glibc
public import IdentityModel

/// What attempts to sign in are counted by.
public enum SignInThrottleKey: Hashable, Sendable {
    /// An IPv4 address, or the /64 of an IPv6 address.
    case address(String)
    /// An account as it is stored, or the canonical text of a name that no account has.
    case account(String)
}

/// Whether one more attempt may be made.
public enum SignInThrottleAnswer: Sendable, Equatable {
    case allowed
    /// Not before this much time has passed.
    case limited(retryAfter: Duration)
}

/// Counts attempts to sign in, right or wrong, before anything is hashed for them: five a minute for each key.
public protocol SignInThrottle: Sendable {
    /// Spends one attempt. A store that does not answer is an error, and then nobody signs in.
    func take(_ key: SignInThrottleKey) async throws(StoreError) -> SignInThrottleAnswer
}

extension SignInThrottleKey {
    /// The key for a client's address in its usual text form; any other text, as for a Unix socket, is its own key.
    static func client(_ address: String) -> SignInThrottleKey {
        var six = in6_addr()
        // Both calls write into the local variable, which is as large as they expect.
        guard unsafe inet_pton(AF_INET6, address, &six) == 1 else { return .address(address) }
        let bytes = unsafe withUnsafeBytes(of: six) { unsafe Array($0) }
        let isMapped = bytes.prefix(10).allSatisfy { $0 == 0 } && bytes[10] == 0xFF && bytes[11] == 0xFF
        if isMapped { return .address(bytes.suffix(4).map(String.init).joined(separator: ".")) }
        let groups = (0..<4).map { String(UInt16(bytes[2 * $0]) << 8 | UInt16(bytes[2 * $0 + 1]), radix: 16) }
        return .address(groups.joined(separator: ":") + "::/64")
    }
}

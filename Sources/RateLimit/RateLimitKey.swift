/// Whose tokens are counted: a keyed hash of the rule's name, the kind of key and every part of its value.
///
/// 128 bits, so that two keys do not meet by chance; keyed, so that they cannot be made to meet; and nothing of the
/// value can be read from it.
public struct RateLimitKey: Hashable, Sendable {
    let high: UInt64
    let low: UInt64
    /// Tells the rule apart from the others of the file.
    let rule: UInt32

    /// What a key is made from; part of the hash, so that an address and a subject of the same bytes are two keys.
    public enum Kind: UInt64, Sendable, CaseIterable {
        case address = 1
        case subject = 2
        case route = 3
        case account = 4
    }

    /// Appends the hash as 32 hexadecimal digits.
    func appendHexDigits(to text: inout [UInt8]) {
        for shift in stride(from: 60, through: 0, by: -4) { text.append(RateLimitKey.hexDigit(high >> UInt64(shift))) }
        for shift in stride(from: 60, through: 0, by: -4) { text.append(RateLimitKey.hexDigit(low >> UInt64(shift))) }
    }

    /// The digit for the lowest four bits.
    private static func hexDigit(_ word: UInt64) -> UInt8 {
        let digit = UInt8(truncatingIfNeeded: word) & 15
        return digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "a") + digit - 10
    }
}

/// The secret that keys are hashed with.
public struct RateLimitSeed: Sendable {
    let words: (UInt64, UInt64)

    /// A new one; right for counts that live in this process.
    public static func random() -> RateLimitSeed {
        var generator = SystemRandomNumberGenerator()
        return RateLimitSeed(words: (generator.next(), generator.next()))
    }

    /// The same for every process that gives the same bytes; for counts that nodes share. Whoever knows the bytes can
    /// find out by trial which value a key stands for, so they should be a secret.
    public init(sharedSecret bytes: Span<UInt8>) {
        var hash = SipHash128(key: (0x5261_7465_4c69_6d69, 0x7453_6565_6400_0001))
        hash.append(part: bytes)
        words = hash.finish()
    }

    init(words: (UInt64, UInt64)) { self.words = words }
}

/// The keys of one rule; made once for each rule, since the hash of the rule's name is then already done.
public struct RateLimitKeyspace: Sendable {
    private let start: SipHash128
    private let rule: UInt32

    /// A rule's name stands for its buckets: a rule that keeps its name over a reload keeps them.
    public init(rule: String, kind: RateLimitKey.Kind, seed: RateLimitSeed) {
        var hash = SipHash128(key: seed.words)
        hash.append(part: rule.utf8.span)
        hash.append(kind.rawValue)
        start = hash
        self.rule = UInt32(truncatingIfNeeded: hash.finish().0)
    }

    /// The key of one sequence of bytes; an empty one is the key that all requests of the rule share.
    public func key(_ bytes: Span<UInt8>) -> RateLimitKey {
        var hash = start
        hash.append(part: bytes)
        return key(hash)
    }

    /// The key of a pair, such as issuer and identifier of a subject.
    public func key(_ first: String, _ second: String) -> RateLimitKey {
        var hash = start
        hash.append(part: first.utf8.span)
        hash.append(part: second.utf8.span)
        return key(hash)
    }

    /// The key of a peer from the 16 bytes of its address, IPv4 being mapped (RFC 4291 section 2.5.5.2).
    ///
    /// IPv4 counts whole, IPv6 by its first 64 bits: that much is usually given to one household or machine, which
    /// could else take a fresh bucket for each request.
    public func key(address: Span<UInt8>) -> RateLimitKey {
        precondition(address.count == 16)
        return key(
            RateLimitKeyspace.isMappedIPv4(address) ? address.extracting(12..<16) : address.extracting(0..<8))
    }

    private func key(_ hash: SipHash128) -> RateLimitKey {
        let (high, low) = hash.finish()
        return RateLimitKey(high: high, low: low, rule: rule)
    }

    private static func isMappedIPv4(_ address: Span<UInt8>) -> Bool {
        for index in 0..<10 where address[index] != 0 { return false }
        return address[10] == 0xFF && address[11] == 0xFF
    }
}

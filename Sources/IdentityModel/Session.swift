/// The key a session is stored under: the SHA-256 of the cookie's value, so that the store never holds the value.
public struct SessionKey: Hashable, Sendable {
    /// The digest as four big-endian words.
    public let words: (UInt64, UInt64, UInt64, UInt64)

    /// Takes a SHA-256 digest of exactly 32 bytes; `nil` for any other length.
    public init?(digest: some Collection<UInt8>) {
        guard digest.count == 32 else { return nil }
        var words: [UInt64] = []
        var rest = digest[...]
        for _ in 0..<4 {
            words.append(rest.prefix(8).reduce(0) { $0 << 8 | UInt64($1) })
            rest = rest.dropFirst(8)
        }
        self.words = (words[0], words[1], words[2], words[3])
    }

    /// Takes a SHA-256 digest as four big-endian words.
    public init(words: (UInt64, UInt64, UInt64, UInt64)) { self.words = words }

    /// The digest's 32 bytes.
    public var bytes: [UInt8] {
        [words.0, words.1, words.2, words.3].flatMap { word in
            (0..<8).map { UInt8(truncatingIfNeeded: word >> (56 - 8 * $0)) }
        }
    }

    /// Compares all parts.
    public static func == (left: SessionKey, right: SessionKey) -> Bool {
        left.words.0 == right.words.0 && left.words.1 == right.words.1 && left.words.2 == right.words.2
            && left.words.3 == right.words.3
    }

    /// Feeds a part that is as good as random.
    public func hash(into hasher: inout Hasher) { hasher.combine(words.0) }
}

/// A signed-in period of a user, as the store has it.
public struct Session: Sendable, Equatable {
    /// Where it is stored.
    public let key: SessionKey
    /// What the session says of its subject, read from the directory with the session.
    public let claims: SubjectClaims
    /// The directory's integer identifier of the user.
    public let userID: Int64
    /// When it ends whatever happens, in seconds since the epoch.
    public let expiresAt: Int64
    /// When it ends unless it is used, in seconds since the epoch.
    public let idleExpiresAt: Int64

    /// Memberwise.
    public init(key: SessionKey, claims: SubjectClaims, userID: Int64, expiresAt: Int64, idleExpiresAt: Int64) {
        self.key = key
        self.claims = claims
        self.userID = userID
        self.expiresAt = expiresAt
        self.idleExpiresAt = idleExpiresAt
    }

    /// Whether it may be used at this time, in seconds since the epoch.
    public func isLive(at now: Int64) -> Bool { now < expiresAt && now < idleExpiresAt }
}

/// Answers which session a key belongs to. The worker asks it for what is not in its cache.
public protocol SessionAuthority: Sendable {
    /// The live session stored under `key`; `nil` when there is none, it has ended or its user may not sign in now.
    /// Use of a session is recorded, at most once a minute. `now` is in seconds since the epoch.
    func session(for key: SessionKey, now: Int64) async throws(StoreError) -> Session?
}

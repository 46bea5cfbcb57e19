public import IdentityModel

/// The sessions of the directory's users.
///
/// A session is found under the SHA-256 of its cookie's value. Each look-up reads the user with it, so that a user
/// who was locked, switched off or given other roles is seen as such from the next look-up on.
public struct SessionStore: SessionAuthority {
    /// How long sessions live, and what their subjects are given.
    public struct Settings: Sendable {
        /// The issuer of the subjects.
        public var issuer: String
        /// The scopes that each role grants.
        public var roleScopes: [Role: Set<Scope>]
        /// A session ends after this long without use; whole seconds count.
        public var idleTimeout: Duration
        /// A session ends after this long whatever happens; whole seconds count.
        public var lifetime: Duration

        /// Memberwise; 8 hours for both limits.
        public init(
            issuer: String, roleScopes: [Role: Set<Scope>], idleTimeout: Duration = .seconds(8 * 3600),
            lifetime: Duration = .seconds(8 * 3600)
        ) {
            self.issuer = issuer
            self.roleScopes = roleScopes
            self.idleTimeout = idleTimeout
            self.lifetime = lifetime
        }
    }

    /// A session that was just begun, and the older ones that had to end for it.
    public struct Beginning: Sendable {
        /// The new session.
        public let session: Session
        /// Keys of sessions that ended: the one presented at sign-in, and the user's oldest over the bound. Whoever
        /// caches sessions must forget them before the sign-in is answered.
        public let ended: [SessionKey]
    }

    private let database: Database
    private let settings: Settings

    /// A view of the database; costs nothing.
    public init(_ database: Database, settings: Settings) {
        self.database = database
        self.settings = settings
    }

    /// Begins a session; `nil` when the user is gone or may not sign in any more. `now` is in seconds since the epoch.
    ///
    /// `presented` is the session that the browser had before: it ends in the same transaction.
    public func begin(
        _ key: SessionKey, userID: Int64, replacing presented: SessionKey?, now: Int64
    ) async throws(StoreError) -> Beginning? {
        let (settings, expiresAt) = (settings, now + settings.lifetime.components.seconds)
        let idleExpiresAt = min(expiresAt, now + settings.idleTimeout.components.seconds)
        return try await database.write { connection throws(StoreError) -> Beginning? in
            guard let user = try connection.user(id: userID), user.mayStartSession else { return nil }
            var ended: [SessionKey] = []
            if let presented, try connection.endSession(presented) != nil { ended.append(presented) }
            ended += try connection.endSessions(of: userID, keeping: SessionStore.sessionsOfUserMax - 1)
            try connection.run(
                """
                INSERT INTO sessions (key, user_id, created_at, expires_at, idle_expires_at, last_used_at)
                VALUES (?1, ?2, ?3, ?4, ?5, ?3)
                """,
                [.blob(key.bytes), .integer(userID), .integer(now), .integer(expiresAt), .integer(idleExpiresAt)])
            try connection.purgeSessions(endedBy: now, limit: SessionStore.purgedWithEachBeginning)
            let session = Session(
                key: key, claims: user.claims(settings), userID: userID, expiresAt: expiresAt,
                idleExpiresAt: idleExpiresAt)
            return Beginning(session: session, ended: ended)
        }
    }

    /// The live session stored under `key`, with what its user is and may do now.
    ///
    /// Use is recorded at most once a minute, behind the caller's back: a look-up never waits for a write.
    public func session(for key: SessionKey, now: Int64) async throws(StoreError) -> Session? {
        let settings = settings
        let found = try await database.read { connection throws(StoreError) in
            try connection.row(
                """
                SELECT \(User.columns), s.expires_at, s.idle_expires_at, s.last_used_at
                FROM sessions s JOIN users u ON u.id = s.user_id WHERE s.key = ?
                """, [.blob(key.bytes)]
            ) { row in
                let user = User(row)
                let session = Session(
                    key: key, claims: user.claims(settings), userID: user.id,
                    expiresAt: row.integer(User.columnCount), idleExpiresAt: row.integer(User.columnCount + 1))
                return (user: user, session: session, lastUsedAt: row.integer(User.columnCount + 2))
            }
        }
        guard let found, found.user.mayStartSession, found.session.isLive(at: now) else { return nil }
        if now - found.lastUsedAt >= SessionStore.secondsBetweenTouches { touch(key, now: now) }
        return found.session
    }

    /// Ends a session; returns the identifier of the user whose it was, `nil` when there was none.
    public func end(_ key: SessionKey) async throws(StoreError) -> Int64? {
        try await database.write { connection throws(StoreError) in try connection.endSession(key) }
    }

    /// Ends every session of a user; returns their keys, for whoever caches sessions.
    public func endAll(ofUser id: Int64) async throws(StoreError) -> [SessionKey] {
        try await database.write { connection throws(StoreError) in
            try connection.endSessions(of: id, keeping: 0)
        }
    }

    /// Deletes at most 1,000 sessions that are over; returns how many.
    public func purgeEnded(now: Int64) async throws(StoreError) -> Int {
        try await database.write { connection throws(StoreError) in
            try connection.purgeSessions(endedBy: now, limit: 1000)
        }
    }

    /// A session that ended meanwhile stays ended: the row is gone, or its time is over.
    private func touch(_ key: SessionKey, now: Int64) {
        let idleSeconds = settings.idleTimeout.components.seconds
        database.writeLater { connection throws(StoreError) in
            try connection.run(
                """
                UPDATE sessions SET last_used_at = ?1, idle_expires_at = min(expires_at, ?1 + ?2)
                WHERE key = ?3 AND last_used_at <= ?1 - ?4 AND idle_expires_at > ?1 AND expires_at > ?1
                """,
                [
                    .integer(now), .integer(idleSeconds), .blob(key.bytes),
                    .integer(SessionStore.secondsBetweenTouches),
                ])
        }
    }

    static let secondsBetweenTouches: Int64 = 60
    /// Sessions that one user may have; the oldest ends for one more.
    static let sessionsOfUserMax = 100
    /// Keeps the table from growing without a timer: each sign-in removes more than it adds.
    private static let purgedWithEachBeginning: Int64 = 10
}

extension User {
    fileprivate func claims(_ settings: SessionStore.Settings) -> SubjectClaims {
        SubjectClaims(
            subject: Subject(issuer: settings.issuer, identifier: subject), username: username,
            displayName: displayName, email: email, roles: roles, scopes: scopes(in: settings.roleScopes))
    }
}

extension SQLiteConnection {
    fileprivate func endSession(_ key: SessionKey) throws(StoreError) -> Int64? {
        try row("DELETE FROM sessions WHERE key = ? RETURNING user_id", [.blob(key.bytes)]) { $0.integer(0) }
    }

    /// Ends a user's sessions but the newest `keeping`.
    fileprivate func endSessions(of userID: Int64, keeping: Int) throws(StoreError) -> [SessionKey] {
        try rows(
            """
            DELETE FROM sessions WHERE key IN (
                SELECT key FROM sessions WHERE user_id = ? ORDER BY created_at DESC LIMIT -1 OFFSET ?
            ) RETURNING key
            """, [.integer(userID), .integer(Int64(keeping))]
        ) { SessionKey(digest: $0.blob(0)) }.compactMap { $0 }
    }

    @discardableResult
    fileprivate func purgeSessions(endedBy now: Int64, limit: Int64) throws(StoreError) -> Int {
        try run(
            """
            DELETE FROM sessions WHERE key IN (
                SELECT key FROM sessions WHERE idle_expires_at <= ? ORDER BY idle_expires_at LIMIT ?)
            """, [.integer(now), .integer(limit)])
    }
}

public import IdentityModel

/// A signing key as it is stored.
public struct StoredSigningKey: Sendable {
    /// The key's identifier in tokens and key sets.
    public let keyID: String
    /// The private key as PKCS#8 DER.
    public let pkcs8: Secret<[UInt8]>
    /// Seconds since the epoch.
    public let createdAt: Int64
    /// Whether new tokens are signed with it; one that is not active is only published.
    public let isActive: Bool

    /// Memberwise.
    public init(keyID: String, pkcs8: Secret<[UInt8]>, createdAt: Int64, isActive: Bool) {
        self.keyID = keyID
        self.pkcs8 = pkcs8
        self.createdAt = createdAt
        self.isActive = isActive
    }
}

/// Signing keys, and the secrets that must outlive the process.
public struct KeyStore: Sendable {
    private let database: Database

    /// A view of the database; costs nothing.
    public init(_ database: Database) { self.database = database }

    /// Every signing key, newest first; when there is none, `fresh` is stored and returned. Two processes that start
    /// at the same moment get the same key.
    public func signingKeys(orInsert fresh: StoredSigningKey) async throws(StoreError) -> [StoredSigningKey] {
        try await database.write { connection throws(StoreError) in
            let keys = try connection.signingKeys()
            if keys.contains(where: \.isActive) { return keys }
            try connection.run(
                "INSERT INTO signing_keys (kid, pkcs8, created_at, is_active) VALUES (?, ?, ?, ?)",
                [.text(fresh.keyID), .blob(fresh.pkcs8.reveal()), .integer(fresh.createdAt), .bool(fresh.isActive)])
            return try connection.signingKeys()
        }
    }

    /// Every signing key, newest first.
    public func signingKeys() async throws(StoreError) -> [StoredSigningKey] {
        try await database.read { connection throws(StoreError) in try connection.signingKeys() }
    }

    /// The secret of this name; when there is none, `fresh` is stored and returned.
    public func secret(
        named name: String, orInsert fresh: Secret<[UInt8]>, now: Int64
    ) async throws(StoreError) -> Secret<[UInt8]> {
        try await database.write { connection throws(StoreError) in
            try connection.run(
                "INSERT INTO secrets (name, value, created_at) VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING",
                [.text(name), .blob(fresh.reveal()), .integer(now)])
            let stored = try connection.row("SELECT value FROM secrets WHERE name = ?", [.text(name)]) { $0.blob(0) }
            guard let stored else { throw StoreError("database: a new secret is not there") }
            return Secret(stored)
        }
    }
}

extension SQLiteConnection {
    fileprivate func signingKeys() throws(StoreError) -> [StoredSigningKey] {
        try rows(
            "SELECT kid, pkcs8, created_at, is_active FROM signing_keys ORDER BY created_at DESC, kid LIMIT 64"
        ) { row in
            StoredSigningKey(
                keyID: row.text(0), pkcs8: Secret(row.blob(1)), createdAt: row.integer(2), isActive: row.bool(3))
        }
    }
}

internal import IdentityModel

/// One step from a schema to the next. Steps are never changed once released, only added.
struct Migration: Sendable {
    /// 1, 2, 3 … without gaps.
    let number: Int64
    let sql: String
}

/// What the database looks like, and how an older one becomes so.
enum Schema {
    /// `AGTW` in ASCII, in the file's header: tells our files from those of other programs.
    static let applicationID: Int64 = 0x4147_5457

    static let migrations: [Migration] = [
        Migration(
            number: 1,
            sql: """
                -- AUTOINCREMENT: the identifier of a deleted user is never given to another.
                CREATE TABLE users (
                    id INTEGER PRIMARY KEY AUTOINCREMENT,
                    subject TEXT NOT NULL UNIQUE,
                    username TEXT NOT NULL,
                    username_canonical TEXT NOT NULL UNIQUE,
                    email TEXT,
                    email_canonical TEXT UNIQUE,
                    display_name TEXT NOT NULL,
                    password_hash TEXT,
                    is_active INTEGER NOT NULL CHECK (is_active IN (0, 1)),
                    is_locked INTEGER NOT NULL CHECK (is_locked IN (0, 1)),
                    is_sample INTEGER NOT NULL CHECK (is_sample IN (0, 1)),
                    created_at INTEGER NOT NULL,
                    updated_at INTEGER NOT NULL
                ) STRICT;
                CREATE TABLE user_roles (
                    user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
                    role TEXT NOT NULL,
                    PRIMARY KEY (user_id, role)
                ) STRICT, WITHOUT ROWID;
                -- The key is the SHA-256 of the cookie's value, which is stored nowhere.
                CREATE TABLE sessions (
                    key BLOB PRIMARY KEY CHECK (length(key) = 32),
                    user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
                    created_at INTEGER NOT NULL,
                    expires_at INTEGER NOT NULL,
                    idle_expires_at INTEGER NOT NULL,
                    last_used_at INTEGER NOT NULL
                ) STRICT, WITHOUT ROWID;
                CREATE INDEX sessions_by_user ON sessions (user_id, created_at);
                CREATE INDEX sessions_by_idle_expiry ON sessions (idle_expires_at);
                CREATE TABLE signing_keys (
                    kid TEXT PRIMARY KEY,
                    pkcs8 BLOB NOT NULL,
                    created_at INTEGER NOT NULL,
                    is_active INTEGER NOT NULL CHECK (is_active IN (0, 1))
                ) STRICT, WITHOUT ROWID;
                CREATE TABLE secrets (
                    name TEXT PRIMARY KEY,
                    value BLOB NOT NULL,
                    created_at INTEGER NOT NULL
                ) STRICT, WITHOUT ROWID;
                """)
    ]

    /// Brings the database to the last migration, all steps in one transaction. A second process that starts at the
    /// same moment waits for the lock and then finds nothing left to do.
    static func migrate(
        _ connection: SQLiteConnection, _ migrations: [Migration] = migrations
    ) throws(StoreError) {
        try connection.script("BEGIN IMMEDIATE")
        do throws(StoreError) {
            try apply(migrations, to: connection)
            try connection.script("COMMIT")
        } catch {
            if connection.isInTransaction { try? connection.script("ROLLBACK") }
            throw error
        }
    }

    private static func apply(_ migrations: [Migration], to connection: SQLiteConnection) throws(StoreError) {
        let owner = try connection.row("PRAGMA application_id") { $0.integer(0) } ?? 0
        let version = try connection.row("PRAGMA user_version") { $0.integer(0) } ?? 0
        let tables = try connection.row("SELECT count(*) FROM sqlite_schema") { $0.integer(0) } ?? 0
        guard owner == applicationID || (owner == 0 && version == 0 && tables == 0) else {
            throw StoreError("database: the file belongs to another program; name another path", reason: .corrupt)
        }
        let newest = migrations.last?.number ?? 0
        guard version <= newest else {
            throw StoreError(
                "database: its schema is number \(version) and this program knows up to \(newest): "
                    + "a newer version wrote it; run that version, or restore the backup made before the upgrade",
                reason: .newerSchema)
        }
        for migration in migrations where migration.number > version {
            try connection.script(migration.sql)
            try connection.script("PRAGMA user_version = \(migration.number)")
        }
        if owner != applicationID { try connection.script("PRAGMA application_id = \(applicationID)") }
    }
}

public import IdentityModel

/// Users and the roles they hold.
public struct Directory: Sendable {
    /// Why a user cannot be created; nothing was stored.
    public enum Conflict: Error, Sendable, Equatable {
        /// Someone has this username, as a username or as an address.
        case usernameTaken
        /// Someone has this address, as an address or as a username.
        case emailTaken
    }

    private let database: Database

    /// A view of the database; costs nothing.
    public init(_ database: Database) { self.database = database }

    /// The user with this identifier.
    public func user(id: Int64) async throws(StoreError) -> User? {
        try await database.read { connection throws(StoreError) in try connection.user(id: id) }
    }

    /// The user with this username or e-mail address, with the stored hash.
    public func signInRecord(named name: LoginName) async throws(StoreError) -> SignInRecord? {
        try await database.read { connection throws(StoreError) in
            try connection.row(
                "SELECT \(User.columns), password_hash FROM users u WHERE username_canonical = ?1 OR email_canonical = ?1",
                [.text(name.canonical)]
            ) { row in
                SignInRecord(user: User(row), passwordHash: row.optionalText(User.columnCount).map { Secret($0) })
            }
        }
    }

    /// Up to `limit` users with identifiers above `after`, in their order.
    public func users(after: Int64 = 0, limit: Int = 50) async throws(StoreError) -> [User] {
        try await database.read { connection throws(StoreError) in
            try connection.rows(
                "SELECT \(User.columns) FROM users u WHERE id > ? ORDER BY id LIMIT ?",
                [.integer(after), .integer(Int64(max(0, limit)))], User.init)
        }
    }

    /// Creates a user. A name is taken when anyone has it as a username *or* as an address: otherwise one person
    /// could take another's address as a username and receive their sign-ins.
    public func create(_ new: NewUser, now: Int64) async throws(StoreError) -> Result<User, Conflict> {
        try await database.write { connection throws(StoreError) in
            if try connection.isTaken(new.username) { return .failure(.usernameTaken) }
            if let email = new.email, try connection.isTaken(email) { return .failure(.emailTaken) }
            try connection.run(
                """
                INSERT INTO users (subject, username, username_canonical, email, email_canonical, display_name,
                    password_hash, is_active, is_locked, is_sample, created_at, updated_at)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 1, 0, ?8, ?9, ?9)
                """,
                [
                    .text(new.subject), .text(new.username.text), .text(new.username.canonical),
                    .optionalText(new.email?.text), .optionalText(new.email?.canonical), .text(new.displayName),
                    .optionalText(new.passwordHash?.reveal()), .bool(new.isSample), .integer(now),
                ])
            let id = try connection.row("SELECT last_insert_rowid()") { $0.integer(0) }
            guard let id else { throw StoreError("database: a new user has no identifier") }
            try connection.insert(new.roles, of: id)
            guard let user = try connection.user(id: id) else {
                throw StoreError("database: a new user is not there")
            }
            return .success(user)
        }
    }

    /// Replaces the roles; `false` when there is no such user. Sessions see it at their next look-up.
    public func setRoles(_ roles: Set<Role>, of id: Int64, now: Int64) async throws(StoreError) -> Bool {
        try await database.write { connection throws(StoreError) in
            guard
                try connection.run("UPDATE users SET updated_at = ? WHERE id = ?", [.integer(now), .integer(id)]) == 1
            else { return false }
            try connection.run("DELETE FROM user_roles WHERE user_id = ?", [.integer(id)])
            try connection.insert(roles, of: id)
            return true
        }
    }

    /// Switches an account off or on, or locks it; `false` when there is no such user.
    public func setState(isActive: Bool, isLocked: Bool, of id: Int64, now: Int64) async throws(StoreError) -> Bool {
        try await database.write { connection throws(StoreError) in
            try connection.run(
                "UPDATE users SET is_active = ?, is_locked = ?, updated_at = ? WHERE id = ?",
                [.bool(isActive), .bool(isLocked), .integer(now), .integer(id)]) == 1
        }
    }

    /// Stores a new password's hash; `false` when there is no such user.
    public func setPasswordHash(_ hash: Secret<String>, of id: Int64, now: Int64) async throws(StoreError) -> Bool {
        try await database.write { connection throws(StoreError) in
            try connection.run(
                "UPDATE users SET password_hash = ?, updated_at = ? WHERE id = ?",
                [.text(hash.reveal()), .integer(now), .integer(id)]) == 1
        }
    }

    /// Replaces a hash by one of the same password, unless the password was changed meanwhile.
    public func rehash(_ hash: Secret<String>, replacing old: Secret<String>, of id: Int64) async throws(StoreError) {
        _ = try await database.write { connection throws(StoreError) in
            try connection.run(
                "UPDATE users SET password_hash = ? WHERE id = ? AND password_hash = ?",
                [.text(hash.reveal()), .integer(id), .text(old.reveal())])
        }
    }

    /// How many accounts with published passwords there are.
    public func sampleUserCount() async throws(StoreError) -> Int {
        try await database.read { connection throws(StoreError) in
            try connection.row("SELECT count(*) FROM users WHERE is_sample = 1") { Int($0.integer(0)) } ?? 0
        }
    }

    /// Deletes the accounts with published passwords, with their sessions; returns how many there were.
    public func deleteSampleUsers() async throws(StoreError) -> Int {
        try await database.write { connection throws(StoreError) in
            try connection.run("DELETE FROM users WHERE is_sample = 1")
        }
    }
}

extension User {
    /// The columns that `init(_:)` reads, of a table `users` that the query calls `u`. A role name has no space.
    static let columns = """
        u.id, u.subject, u.username, u.email, u.display_name, u.is_active, u.is_locked, u.is_sample, u.created_at, \
        u.updated_at, (SELECT group_concat(role, ' ') FROM user_roles WHERE user_id = u.id)
        """
    static let columnCount = 11

    init(_ row: SQLiteRow) {
        self.init(
            id: row.integer(0), subject: row.text(1), username: row.text(2), email: row.optionalText(3),
            displayName: row.text(4),
            roles: Set(row.text(10).split(separator: " ").compactMap { Role(String($0)) }),
            isActive: row.bool(5), isLocked: row.bool(6), isSample: row.bool(7), createdAt: row.integer(8),
            updatedAt: row.integer(9))
    }
}

extension SQLiteConnection {
    func user(id: Int64) throws(StoreError) -> User? {
        try row("SELECT \(User.columns) FROM users u WHERE id = ?", [.integer(id)], User.init)
    }

    fileprivate func isTaken(_ name: LoginName) throws(StoreError) -> Bool {
        try row(
            "SELECT 1 FROM users WHERE username_canonical = ?1 OR email_canonical = ?1", [.text(name.canonical)]
        ) { _ in true } ?? false
    }

    fileprivate func insert(_ roles: Set<Role>, of id: Int64) throws(StoreError) {
        for role in roles.sorted() {
            try run("INSERT INTO user_roles (user_id, role) VALUES (?, ?)", [.integer(id), .text(role.name)])
        }
    }
}

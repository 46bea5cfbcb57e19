import IdentityModel
import Testing

@testable import Storage

@Suite struct SessionStoreTests {
    private let folder: TemporaryFolder
    private let database: Database
    private let directory: Directory
    private let sessions: SessionStore
    private let reader: Role
    private let read: Scope

    init() throws {
        folder = try TemporaryFolder()
        database = try folder.database()
        directory = Directory(database)
        reader = try #require(Role("reader"))
        read = try #require(Scope("reports:read"))
        sessions = SessionStore(
            database,
            settings: .init(
                issuer: "https://iam.example", roleScopes: [reader: [read]], idleTimeout: .seconds(100),
                lifetime: .seconds(1000)))
    }

    private func user(_ name: String = "john") async throws -> User {
        let username = try #require(LoginName(name))
        let new = try #require(
            NewUser(
                username: username, email: LoginName(name + "@example.com"), displayName: "John",
                passwordHash: nil, roles: [reader]))
        return try await directory.create(new, now: 0).get()
    }

    private func key(_ byte: Int) throws -> SessionKey {
        try #require(SessionKey(digest: [UInt8](repeating: UInt8(byte), count: 32)))
    }

    /// Waits until everything queued before is committed: the writer works in order.
    private func flush() async throws {
        _ = try await database.write { _ throws(StoreError) in 0 }
    }

    @Test func `a session names its subject, roles and the scopes that follow from them`() async throws {
        let (user, key) = (try await user(), try key(1))
        let beginning = try #require(try await sessions.begin(key, userID: user.id, replacing: nil, now: 10))
        #expect(beginning.ended.isEmpty)
        let found = try #require(try await sessions.session(for: key, now: 11))
        #expect(found == beginning.session)
        #expect(found.claims.subject == Subject(issuer: "https://iam.example", identifier: user.subject))
        #expect(found.claims.username == "john")
        #expect(found.claims.email == "john@example.com")
        #expect(found.claims.roles == [reader])
        #expect(found.claims.scopes == [read])
        #expect((found.userID, found.expiresAt, found.idleExpiresAt) == (user.id, 1010, 110))
        #expect(try await sessions.session(for: self.key(2), now: 11) == nil)
    }

    @Test(arguments: [(109, true), (110, false)] as [(Int64, Bool)])
    func `an unused session ends at its idle limit`(now: Int64, isLive: Bool) async throws {
        let (user, key) = (try await user(), try key(1))
        _ = try await sessions.begin(key, userID: user.id, replacing: nil, now: 10)
        #expect((try await sessions.session(for: key, now: now) != nil) == isLive)
    }

    @Test func `use keeps a session alive, at most to its absolute limit`() async throws {
        let (user, key) = (try await user(), try key(1))
        _ = try await sessions.begin(key, userID: user.id, replacing: nil, now: 0)
        for now in stride(from: Int64(90), through: 990, by: 90) {
            #expect(try await sessions.session(for: key, now: now) != nil)
            try await flush()
        }
        #expect(try await sessions.session(for: key, now: 999)?.idleExpiresAt == 1000)
        #expect(try await sessions.session(for: key, now: 1000) == nil)
    }

    @Test func `use is written at most once a minute`() async throws {
        let (user, key) = (try await user(), try key(1))
        _ = try await sessions.begin(key, userID: user.id, replacing: nil, now: 0)
        _ = try await sessions.session(for: key, now: 59)
        try await flush()
        #expect(try await sessions.session(for: key, now: 59)?.idleExpiresAt == 100)
        _ = try await sessions.session(for: key, now: 60)
        try await flush()
        #expect(try await sessions.session(for: key, now: 61)?.idleExpiresAt == 160)
    }

    @Test func `a use that is written late does not bring an ended session back`() async throws {
        let (user, key) = (try await user(), try key(1))
        _ = try await sessions.begin(key, userID: user.id, replacing: nil, now: 0)
        _ = try await sessions.session(for: key, now: 90)
        #expect(try await sessions.end(key) == user.id)
        try await flush()
        #expect(try await sessions.session(for: key, now: 91) == nil)
        #expect(try await sessions.end(key) == nil)
    }

    @Test(arguments: [(true, true), (false, false), (false, true)])
    func `R75: a user who is locked or switched off has no session, from the next look-up on`(
        isActive: Bool, isLocked: Bool
    ) async throws {
        let (user, key) = (try await user(), try key(1))
        _ = try await sessions.begin(key, userID: user.id, replacing: nil, now: 0)
        #expect(try await directory.setState(isActive: isActive, isLocked: isLocked, of: user.id, now: 1))
        #expect(try await sessions.session(for: key, now: 2) == nil)
        #expect(try await sessions.begin(self.key(2), userID: user.id, replacing: nil, now: 2) == nil)
        #expect(try await directory.setState(isActive: true, isLocked: false, of: user.id, now: 3))
        #expect(try await sessions.session(for: self.key(2), now: 4) == nil)
    }

    @Test func `roles taken away are gone at the next look-up`() async throws {
        let (user, key) = (try await user(), try key(1))
        _ = try await sessions.begin(key, userID: user.id, replacing: nil, now: 0)
        #expect(try await directory.setRoles([], of: user.id, now: 1))
        let found = try #require(try await sessions.session(for: key, now: 2))
        #expect(found.claims.roles.isEmpty)
        #expect(found.claims.scopes.isEmpty)
    }

    @Test func `R62: the session that was presented at sign-in ends with the new one's beginning`() async throws {
        let (user, old, new) = (try await user(), try key(1), try key(2))
        _ = try await sessions.begin(old, userID: user.id, replacing: nil, now: 0)
        let beginning = try await sessions.begin(new, userID: user.id, replacing: old, now: 1)
        #expect(beginning?.ended == [old])
        #expect(try await sessions.session(for: old, now: 2) == nil)
        #expect(try await sessions.session(for: new, now: 2) != nil)
        let third = try await sessions.begin(key(3), userID: user.id, replacing: key(9), now: 2)
        #expect(third?.ended == [])
    }

    @Test func `there is no session for nobody`() async throws {
        #expect(try await sessions.begin(key(1), userID: 42, replacing: nil, now: 0) == nil)
        #expect(try await sessions.session(for: key(1), now: 0) == nil)
    }

    @Test func `all sessions of one user end at once, and nobody else's`() async throws {
        let (john, jane) = (try await user(), try await user("jane"))
        for index in 1...3 { _ = try await sessions.begin(key(index), userID: john.id, replacing: nil, now: 0) }
        _ = try await sessions.begin(key(4), userID: jane.id, replacing: nil, now: 0)
        let ended = try await sessions.endAll(ofUser: john.id)
        #expect(try Set(ended) == [key(1), key(2), key(3)])
        for index in 1...4 {
            #expect(try await (sessions.session(for: key(index), now: 1) != nil) == (index == 4))
        }
    }

    @Test func `one user has at most a hundred sessions, and the oldest goes first`() async throws {
        let user = try await user()
        for index in 1...SessionStore.sessionsOfUserMax {
            let beginning = try await sessions.begin(
                key(index), userID: user.id, replacing: nil, now: Int64(index) / 10)
            #expect(beginning?.ended == [])
        }
        let one = try await sessions.begin(key(200), userID: user.id, replacing: nil, now: 20)
        #expect(one?.ended.count == 1)
        let two = try await sessions.begin(key(201), userID: user.id, replacing: nil, now: 20)
        #expect(two?.ended.count == 1)
        for index in [200, 201] { #expect(try await sessions.session(for: key(index), now: 21) != nil) }
    }

    @Test func `what is over is purged, by hand and by each beginning`() async throws {
        let user = try await user()
        for index in 1...4 { _ = try await sessions.begin(key(index), userID: user.id, replacing: nil, now: 0) }
        #expect(try await sessions.purgeEnded(now: 99) == 0)
        #expect(try await sessions.purgeEnded(now: 100) == 4)
        for index in 1...4 { _ = try await sessions.begin(key(index), userID: user.id, replacing: nil, now: 200) }
        _ = try await sessions.begin(key(5), userID: user.id, replacing: nil, now: 300)
        let left = try await database.read { connection throws(StoreError) in
            try connection.row("SELECT count(*) FROM sessions") { $0.integer(0) }
        }
        #expect(left == 1)
    }

    @Test func `sessions outlive a restart`() async throws {
        let (user, key) = (try await user(), try key(1))
        _ = try await sessions.begin(key, userID: user.id, replacing: nil, now: 0)
        database.close()
        let reopened = try folder.database()
        let again = SessionStore(reopened, settings: .init(issuer: "i", roleScopes: [:]))
        #expect(try await again.session(for: key, now: 1)?.userID == user.id)
        reopened.close()
    }
}

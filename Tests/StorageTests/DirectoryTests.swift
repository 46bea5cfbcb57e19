import IdentityModel
import Testing

@testable import Storage

@Suite struct DirectoryTests {
    private let folder: TemporaryFolder
    private let database: Database
    private let directory: Directory

    init() throws {
        folder = try TemporaryFolder()
        database = try folder.database()
        directory = Directory(database)
    }

    private func newUser(_ username: String, _ email: String?, roles: Set<Role> = [], isSample: Bool = false) throws
        -> NewUser
    {
        let (name, address) = (try #require(LoginName(username)), email.flatMap(LoginName.init))
        return try #require(
            NewUser(
                username: name, email: address, displayName: "Someone", passwordHash: Secret("hash of \(username)"),
                roles: roles, isSample: isSample))
    }

    private func record(_ name: String) async throws -> SignInRecord? {
        let name = try #require(LoginName(name))
        return try await directory.signInRecord(named: name)
    }

    @Test func `a user is found by username and by address, in any ASCII case`() async throws {
        let roles = Set(["admin", "a:b.c_d-e"].compactMap(Role.init))
        let created = try await directory.create(newUser("John.Doe", "John@Example.com", roles: roles), now: 7).get()
        #expect(created.username == "John.Doe")
        #expect(created.email == "John@Example.com")
        #expect((created.createdAt, created.updatedAt) == (7, 7))
        #expect(created.isActive && !created.isLocked && !created.isSample)
        for name in ["John.Doe", "john.doe", "JOHN.DOE", "john@example.com", "JOHN@EXAMPLE.COM"] {
            let found = try await record(name)
            #expect(found?.user == created)
            #expect(found?.passwordHash?.reveal() == "hash of John.Doe")
        }
        #expect(try await directory.user(id: created.id) == created)
        #expect(try await directory.user(id: created.id + 1) == nil)
        for name in ["john", "john.doe@", "john.doe%", "john_doe", "' OR 1=1 --"] where LoginName(name) != nil {
            let found = try await record(name)
            #expect(found == nil)
        }
    }

    @Test(
        arguments: [
            ("JOHN", "x@example.com", Directory.Conflict.usernameTaken), ("x", "JOHN@example.COM", .emailTaken),
            ("John@Example.com", nil, .usernameTaken), ("x", "jane@example.com", .emailTaken),
        ] as [(String, String?, Directory.Conflict)])
    func `a name is one person's, whether as a username or as an address`(
        username: String, email: String?, conflict: Directory.Conflict
    ) async throws {
        _ = try await directory.create(newUser("john", "john@example.com", roles: []), now: 0).get()
        _ = try await directory.create(newUser("jane@example.com", nil, roles: []), now: 0).get()
        #expect(try await directory.create(newUser(username, email), now: 0) == .failure(conflict))
        #expect(try await directory.users().count == 2)
    }

    @Test func `of many creations of one name at once, one succeeds`() async throws {
        let directory = directory
        let new = try newUser("racer", "racer@example.com")
        let successes = try await withThrowingTaskGroup(of: Bool.self) { group in
            for _ in 0..<20 {
                var mine = new
                mine.subject = NewUser.randomSubject()
                let copy = mine
                group.addTask { if case .success = try await directory.create(copy, now: 0) { true } else { false } }
            }
            return try await group.reduce(0) { $0 + ($1 ? 1 : 0) }
        }
        #expect(successes == 1)
    }

    @Test func `identifiers are never given twice`() async throws {
        let first = try await directory.create(newUser("a", nil, isSample: true), now: 0).get()
        #expect(try await directory.deleteSampleUsers() == 1)
        let second = try await directory.create(newUser("a", nil), now: 0).get()
        #expect(second.id > first.id)
        #expect(second.subject != first.subject)
    }

    @Test func `roles, state and password change, and a missing user is told apart`() async throws {
        let user = try await directory.create(newUser("a", nil, roles: Set([Role("x")].compactMap(\.self))), now: 1)
            .get()
        let roles = Set(["y", "z"].compactMap(Role.init))
        #expect(try await directory.setRoles(roles, of: user.id, now: 2))
        #expect(try await directory.setState(isActive: false, isLocked: true, of: user.id, now: 3))
        #expect(try await directory.setPasswordHash(Secret("new"), of: user.id, now: 4))
        let changed = try #require(try await record("a"))
        #expect(changed.user.roles == roles)
        #expect(!changed.user.isActive && changed.user.isLocked && !changed.user.mayStartSession)
        #expect(changed.user.updatedAt == 4)
        #expect(changed.passwordHash?.reveal() == "new")
        #expect(try await !directory.setRoles(roles, of: 99, now: 2))
        #expect(try await !directory.setState(isActive: true, isLocked: false, of: 99, now: 3))
        #expect(try await !directory.setPasswordHash(Secret("new"), of: 99, now: 4))
    }

    @Test func `a rehash does not undo a change of password`() async throws {
        let user = try await directory.create(newUser("a", nil), now: 1).get()
        try await directory.rehash(Secret("better"), replacing: Secret("hash of a"), of: user.id)
        #expect(try await record("a")?.passwordHash?.reveal() == "better")
        try await directory.rehash(Secret("stale"), replacing: Secret("hash of a"), of: user.id)
        #expect(try await record("a")?.passwordHash?.reveal() == "better")
    }

    @Test func `users are listed in pages`() async throws {
        for index in 1...5 { _ = try await directory.create(newUser("u\(index)", nil), now: 0).get() }
        let first = try await directory.users(limit: 2)
        #expect(first.map(\.username) == ["u1", "u2"])
        let rest = try await directory.users(after: first.last?.id ?? 0, limit: 50)
        #expect(rest.map(\.username) == ["u3", "u4", "u5"])
    }

    @Test func `R118: sample users are counted, and deleted with their sessions`() async throws {
        let sample = try await directory.create(newUser("a", nil, isSample: true), now: 0).get()
        let other = try await directory.create(newUser("b", nil), now: 0).get()
        let sessions = SessionStore(database, settings: .init(issuer: "i", roleScopes: [:]))
        let (first, second) = (try key(1), try key(2))
        _ = try await sessions.begin(first, userID: sample.id, replacing: nil, now: 0)
        _ = try await sessions.begin(second, userID: other.id, replacing: nil, now: 0)
        #expect(try await directory.sampleUserCount() == 1)
        #expect(try await directory.deleteSampleUsers() == 1)
        #expect(try await directory.sampleUserCount() == 0)
        #expect(try await directory.users().map(\.username) == ["b"])
        #expect(try await sessions.session(for: first, now: 1) == nil)
        #expect(try await sessions.session(for: second, now: 1) != nil)
    }

    @Test(arguments: ["a@b@c", "@b", "a@", "plain"])
    func `an address has one @ and text on both sides`(email: String) throws {
        let (name, address) = (try #require(LoginName("x")), try #require(LoginName(email)))
        #expect(NewUser(username: name, email: address, displayName: "X", passwordHash: nil) == nil)
    }

    @Test(arguments: [("", false), ("a", true), ("a\u{0}", false), ("a\n", false), ("Zoë Ω", true)])
    func `a display name is one printing line`(name: String, isAccepted: Bool) throws {
        let username = try #require(LoginName("x"))
        #expect((NewUser(username: username, email: nil, displayName: name, passwordHash: nil) != nil) == isAccepted)
        let long = NewUser(
            username: username, email: nil, displayName: String(repeating: "a", count: 201), passwordHash: nil)
        #expect(long == nil)
    }

    private func key(_ byte: UInt8) throws -> SessionKey {
        try #require(SessionKey(digest: [UInt8](repeating: byte, count: 32)))
    }
}

import HTTPTypes
import IdentityModel
import JOSE
import Passwords
import Storage
import Testing

@testable import IdentityService

@Suite struct AccountTests {
    // MARK: Sample users

    @Test(arguments: [
        ("admin", "Admin@123"), ("legal", "Legal@123"), ("pm", "PM@123"), ("sales", "Sales@123"), ("user", "User@123"),
    ])
    func `U01: each sample user signs in with the contract's password and has one role`(name: String, password: String)
        async throws
    {
        let harness = try await Harness()
        try await harness.handler.seedSampleUsers()
        let answer = try await harness.apiLogin(name + "@example.com", password)
        #expect(answer.status == 200)
        #expect(answer.json?["user"]?["roles"] == [.string(name)])
    }

    @Test func `R118: sample users exist only after they were asked for, once, and can be found and deleted`()
        async throws
    {
        let harness = try await Harness()
        #expect(try await !harness.handler.sampleUsersExist())
        #expect(try await harness.apiLogin("admin@example.com", "Admin@123").status == 401)
        try await harness.handler.seedSampleUsers()
        try await harness.handler.seedSampleUsers()
        #expect(try await harness.handler.sampleUsersExist())
        #expect(try await Directory(harness.database).deleteSampleUsers() == 5)
        #expect(try await !harness.handler.sampleUsersExist())
    }

    @Test func `R118: a real account of the same name is not replaced`() async throws {
        let harness = try await Harness()
        let real = try await harness.addUser("admin")
        try await harness.handler.seedSampleUsers()
        #expect(try await Directory(harness.database).user(id: real.id) == real)
        #expect(try await harness.apiLogin("admin@example.com", "Admin@123").status == 401)
        #expect(try await Directory(harness.database).sampleUserCount() == 4)
    }

    // MARK: Passwords

    @Test func `a hash of an old cost is replaced at sign-in`() async throws {
        let harness = try await Harness()
        let user = try await harness.addUser()
        let cost = try #require(Argon2Parameters(memoryKiB: 32, passes: 1, lanes: 1))
        let password = try #require(Password(Harness.password))
        let old = Secret(try await PasswordHasher(parameters: cost).hash(password))
        let directory = Directory(harness.database)
        #expect(try await directory.setPasswordHash(old, of: user.id, now: 0))
        let name = try #require(LoginName("john"))
        #expect(try await harness.apiLogin("john", "wrong").status == 401)
        #expect(try await directory.signInRecord(named: name)?.passwordHash?.reveal() == old.reveal())
        #expect(try await harness.apiLogin().status == 200)
        #expect(try await directory.signInRecord(named: name)?.passwordHash?.reveal().contains("m=64,") == true)
        #expect(try await harness.apiLogin().status == 200)
    }

    // MARK: Tokens

    private func minter(_ harness: Harness) throws -> TokenMinter {
        TokenMinter(
            database: harness.database, keys: harness.keys, issuer: "https://iam.example.com",
            roleScopes: try Harness.roleScopes(), now: { [clock = harness.clock] in clock.now })
    }

    @Test func `a minted token verifies with the published keys and says who, what and how long`() async throws {
        let harness = try await Harness()
        let user = try await harness.addUser(roles: ["reader", "auditor"])
        let read = try #require(Scope("reports:read"))
        let token = try await minter(harness).mint(
            user: "JOHN@example.com", scopes: [read], audience: "oms", lifetime: .seconds(300))
        let verifier = try TokenVerifier(
            issuer: "https://iam.example.com", audiences: ["oms"], algorithms: [.es256], clockSkew: .zero,
            keys: .publicKeys(harness.keys.published))
        let verified = try verifier.verify(Array(token.reveal().utf8).span, now: harness.clock.now)
        #expect(verified.subject == user.subject)
        let claims = verified.claims
        #expect(claims["preferred_username"] == "john")
        #expect(claims["email"] == "john@example.com")
        #expect(claims["roles"] == ["auditor", "reader"])
        #expect(claims["scope"] == "reports:read")
        #expect(claims["exp"] == .integer(harness.clock.now + 300))
        #expect(claims["iat"] == .integer(harness.clock.now))
        #expect(claims["nbf"] == .integer(harness.clock.now))
        #expect(claims["jti"]?.string?.utf8.count == 22)
        #expect(throws: TokenError.self) {
            try verifier.verify(Array(token.reveal().utf8).span, now: harness.clock.now + 300)
        }
    }

    @Test(arguments: [
        ("reader", "reports:read", true), ("reader", "reports:write", false), ("reader", "reports:*", false),
        ("writer", "reports:write", true), ("writer", "reports:*", true), ("writer", "reports:write:all", false),
        ("writer", "invoices:read", false), ("writer", "*:read", false), ("writer", "*", false),
        ("none", "reports:read", false),
    ])
    func `a token holds no scope that the user's roles do not grant`(role: String, scope: String, isGranted: Bool)
        async throws
    {
        let harness = try await Harness()
        try await harness.addUser(roles: [role])
        let (minter, wanted) = (try minter(harness), try #require(Scope(scope)))
        do throws(TokenMinter.Refusal) {
            _ = try await minter.mint(user: "john", scopes: [wanted], audience: "a", lifetime: .seconds(1))
            #expect(isGranted)
        } catch {
            guard case .scopesNotGranted([wanted]) = error else {
                Issue.record("\(error)")
                return
            }
            #expect(!isGranted)
        }
    }

    @Test func `R73: no token for a stranger, nor for an account that may not sign in`() async throws {
        let harness = try await Harness()
        let user = try await harness.addUser()
        let minter = try minter(harness)
        func refusal(_ name: String, _ lifetime: Duration = .seconds(60)) async -> TokenMinter.Refusal? {
            do throws(TokenMinter.Refusal) {
                _ = try await minter.mint(user: name, scopes: [], audience: "a", lifetime: lifetime)
                return nil
            } catch { return error }
        }
        #expect(await refusal("john") == nil)
        guard case .unknownUser = await refusal("nobody"), case .unknownUser = await refusal("not a name") else {
            Issue.record("a stranger has a token")
            return
        }
        for lifetime in [0, -1, 86_401] {
            guard case .lifetimeOutOfRange = await refusal("john", .seconds(lifetime)) else {
                Issue.record("\(lifetime)")
                return
            }
        }
        for (isActive, isLocked) in [(false, false), (true, true), (false, true)] {
            #expect(
                try await Directory(harness.database).setState(
                    isActive: isActive, isLocked: isLocked, of: user.id, now: 0))
            guard case .mayNotSignIn = await refusal("john") else {
                Issue.record("a token for an account that is switched off or locked")
                return
            }
        }
    }

    // MARK: Logs

    @Test func `R116: no password, name, token, cookie or form token reaches the log`() async throws {
        let harness = try await Harness()
        let canary = "Canary-4711"
        try await harness.addUser("john", password: canary + "-right")
        let form = try await harness.openForm()
        var secrets = [canary, form.csrf, String(form.cookie.dropFirst("__Host-gateway_login=".count))]

        let page = try await harness.submit(
            [("username", "john"), ("password", canary + "-right"), ("rd", "/?\(canary)"), ("csrf", form.csrf)],
            fields: [("Cookie", form.cookie)])
        let session = try #require(page.cookiePair(named: "__Host-gateway_session"))
        secrets.append(String(session.dropFirst("__Host-gateway_session=".count)))
        let attempts = [
            ("john", canary + "-wrong"), (canary, canary), (canary + "@example.com", "x"), (canary + " \n", "x"),
            ("john", String(repeating: canary, count: 30)),
        ]
        for (index, (name, password)) in attempts.enumerated() {
            _ = try await harness.apiLogin(name, password, address: "192.0.2.\(index + 10)")
        }
        for _ in 0..<6 { _ = try await harness.apiLogin("x" + canary, canary, address: "192.0.2.77") }
        for path in ["/auth/login?rd=/\(canary)", "/\(canary)", "/api/auth/verify?\(canary)"] {
            _ = try await harness.send(
                .get, path, fields: [("Cookie", "\(session); x=\(canary)"), ("Authorization", canary)])
        }
        _ = try await harness.send(.post, "/api/auth/logout", fields: [("Cookie", session)])
        harness.database.close()
        _ = try await harness.verify(session)
        _ = try await harness.apiLogin(canary, canary, address: "192.0.2.200")

        let log = harness.log.lines.joined(separator: "\n")
        for event in ["auth.login.succeeded", "auth.login.failed", "auth.logout", "identity.store.failed"] {
            #expect(log.contains(event))
        }
        for secret in secrets { #expect(!log.contains(secret)) }
    }

    @Test func `a failed sign-in is logged with its reason and the account's identifier`() async throws {
        let harness = try await Harness()
        let user = try await harness.addUser()
        _ = try await harness.apiLogin("john", "wrong")
        _ = try await harness.apiLogin("nobody", "wrong")
        _ = try await harness.apiLogin()
        #expect(
            harness.log.lines == [
                "auth.login.failed address=192.0.2.1 reason=wrong_password request_id=req-1 user_id=\(user.id)",
                "auth.login.failed address=192.0.2.1 reason=unknown_account request_id=req-1",
                "auth.login.succeeded address=192.0.2.1 request_id=req-1 user_id=\(user.id)",
            ])
    }

    @Test func `R69: sign-ins at the same time never cross`() async throws {
        let harness = try await Harness()
        for index in 0..<20 { try await harness.addUser("u\(index)") }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for index in 0..<20 {
                group.addTask {
                    let answer = try await harness.apiLogin("u\(index)", address: "198.51.100.\(index)")
                    #expect(answer.json?["user"]?["username"] == .string("u\(index)"))
                    let pair = try #require(answer.cookiePair(named: "__Host-gateway_session"))
                    #expect(try await harness.verify(pair).json?["user"]?["username"] == .string("u\(index)"))
                }
            }
            try await group.waitForAll()
        }
    }
}

import Testing

@testable import Passwords

private let cheap = Argon2Parameters(memoryKiB: 64, passes: 1, lanes: 1)

@Suite struct Argon2idTests {
    /// From the test file of the reference implementation: version 19, password "password", salt "somesalt".
    @Test(arguments: [
        (
            "password", true,
            "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
        ),
        (
            "password", true,
            "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc"
        ),
        (
            "differentpassword", true,
            "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$C4TWUs9rDEvq7w3+J4umqA32aWKB1+DSiRuBfYxFj94"
        ),
        (
            "passwore", false,
            "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc"
        ),
    ])
    func `verifies the vectors of the reference implementation`(text: String, isRight: Bool, stored: String) throws {
        let (password, hash) = (try #require(Password(text)), try #require(Argon2idString(stored)))
        #expect(try Argon2id.verify(password, against: hash) == isRight)
    }

    @Test func `a fresh hash is the standard PHC string and verifies only its password`() throws {
        let password = try #require(Password("correct horse"))
        let text = try Argon2id.hash(password, .standard, salt: Argon2id.randomSalt())
        #expect(text.hasPrefix("$argon2id$v=19$m=19456,t=2,p=1$"))
        let stored = try #require(Argon2idString(text))
        #expect(stored.saltBytes == 16)
        #expect(stored.hashBytes == 32)
        #expect(!stored.isOutdated(for: .standard))
        #expect(try Argon2id.verify(password, against: stored))
        let other = try #require(Password("correct horsf"))
        #expect(try !Argon2id.verify(other, against: stored))
    }

    @Test func `two hashes of one password differ`() throws {
        let (password, cost) = (try #require(Password("x")), try #require(cheap))
        let first = try Argon2id.hash(password, cost, salt: Argon2id.randomSalt())
        #expect(try first != Argon2id.hash(password, cost, salt: Argon2id.randomSalt()))
    }

    @Test(
        arguments: [
            ([97, 0, 98], [97, 0, 99]), ([97, 0], [97]), ([0], [0, 0]), ([97], [97, 0]), ([0xFF, 0xFE], [0xFF, 0xFD]),
        ] as [([UInt8], [UInt8])])
    func `a NUL is a byte of the password like any other`(right: [UInt8], wrong: [UInt8]) throws {
        let cost = try #require(cheap)
        let (rightOne, wrongOne) = (try #require(Password(right)), try #require(Password(wrong)))
        let text = try Argon2id.hash(rightOne, cost, salt: Argon2id.randomSalt())
        let stored = try #require(Argon2idString(text))
        #expect(try Argon2id.verify(rightOne, against: stored))
        #expect(try !Argon2id.verify(wrongOne, against: stored))
    }

    @Test(arguments: [(0, false), (1, true), (256, true), (257, false), (100_000, false)])
    func `a password has 1 to 256 bytes`(count: Int, isAccepted: Bool) {
        #expect((Password([UInt8](repeating: 97, count: count)) != nil) == isAccepted)
    }

    @Test func `a password is not printed`() throws {
        let password = try #require(Password("canary-4711"))
        var dumped = ""
        dump(password, to: &dumped)
        #expect(!"\(password) \(String(reflecting: password)) \(dumped)".contains("canary"))
    }

    @Test(arguments: [
        "", "$", "$argon2id$", "plain", "$2b$12$abcdefghijklmnopqrstuv",
        "$argon2i$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc",
        "$argon2id$v=16$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc",
        "$argon2id$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc",
        "$argon2id$v=19$m=256,t=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc",
        "$argon2id$v=19$t=2,m=256,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc",
        "$argon2id$v=19$m=0256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc",
        "$argon2id$v=19$m=+256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc",
        "$argon2id$v=19$m=4294967296,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc",
        "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc$",
        "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc=",
        "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc\0",
        "$argon2id$v=19$m=256,t=2,p=2$$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc",
        "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$", "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$AAAA",
    ])
    func `refuses what is no Argon2id string`(text: String) {
        #expect(PasswordHash(text) == nil)
    }

    @Test(
        arguments: [
            (8, 1, 1, true), (7, 1, 1, false), (16, 1, 2, true), (15, 1, 2, false), (262_144, 16, 8, true),
            (262_145, 1, 1, false), (64, 17, 1, false), (64, 0, 1, false), (128, 1, 9, false), (64, 1, 0, false),
        ] as [(UInt32, UInt32, UInt32, Bool)])
    func `the cost of one hash is bounded`(memory: UInt32, passes: UInt32, lanes: UInt32, isAccepted: Bool) {
        #expect((Argon2Parameters(memoryKiB: memory, passes: passes, lanes: lanes) != nil) == isAccepted)
        let text = "$argon2id$v=19$m=\(memory),t=\(passes),p=\(lanes)$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA"
        #expect((PasswordHash(text) != nil) == isAccepted)
    }
}

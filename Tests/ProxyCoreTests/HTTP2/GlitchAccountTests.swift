import Testing

@testable import ProxyCore

/// R43 and R45: what a client may cost.
struct GlitchAccountTests {
    @Test(arguments: HTTP2Glitch.allCases)
    func `fills up at the price of its glitches`(kind: HTTP2Glitch) {
        #expect(kind.units > 0)
        let count = (HTTP2Settings().glitchUnitsMax + kind.units - 1) / kind.units
        var account = GlitchAccount(at: 0)
        account.add(kind, count: count - 1, at: 0)
        #expect(!account.isFull)
        account.add(kind, at: 0)
        #expect(account.isFull)
    }

    @Test func `a second takes its units off and a full account stays full`() {
        var account = GlitchAccount(limit: 2000, at: 0)
        account.add(.ping, count: 199, at: 0)
        #expect(account.units == 1990)
        account.add(.ping, at: 999_999)
        #expect(account.isFull)
        account.add(.ping, at: 100_000_000_000)
        #expect(account.isFull)

        account = GlitchAccount(limit: 2000, at: 0)
        account.add(.ping, count: 199, at: 0)
        account.add(.ping, at: 1_000_000)
        #expect(account.units == 1999)
        account.add(.windowUpdate, at: 1_001_000_000)
        #expect(account.units == 1000)
        account.add(.windowUpdate, at: .max)
        #expect(account.units == 1)
    }

    @Test func `answers and bytes that were sent take units off`() {
        var account = GlitchAccount(at: 0)
        account.add(.ping, count: 10, at: 0)
        account.answered()
        #expect(account.units == 50)
        account.sent(bytes: 4095)
        #expect(account.units == 50)
        account.sent(bytes: 1)
        #expect(account.units == 49)
        account.sent(bytes: 4096 * 60)
        #expect(account.units == 0)
    }

    @Test func `a thousand answers a second allow a thousand resets a second no more than ever`() {
        var account = GlitchAccount(at: 0)
        for second in 0..<100 {
            for _ in 0..<100 {
                account.add(.resetBeforeAnswer, at: UInt64(second) * 1_000_000_000)
                account.answered()
            }
        }
        #expect(!account.isFull)
    }
}

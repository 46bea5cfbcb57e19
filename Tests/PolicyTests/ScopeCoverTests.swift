import IdentityModel
import Testing

@testable import Policy

@Suite struct ScopeCoverTests {
    @Test(arguments: [
        ("api:schemas:read", "api:schemas:read", true),
        ("api:schemas:read", "api:schemas:write", false),
        ("api:*:read", "api:schemas:read", true),
        ("api:schemas:read", "api:*:read", true),
        ("api:*:read", "api:*:read", true),
        ("api:*:read", "api:schemas:write", false),
        ("api:schemas:write", "api:*:read", false),
        ("*", "reports", true),
        ("*", "reports:read", false),
        ("reports", "*", true),
        ("reports:*", "reports", false),
        ("reports:*", "reports:", true),
        ("reports", "reports:read", false),
        ("reports:read", "reports", false),
        ("*:*", "reports:read", true),
        ("reports:re*", "reports:read", false),
        ("reports:re*", "reports:re*", true),
        ("reports:**", "reports:read", false),
        ("Reports:read", "reports:read", false),
        ("a:*:c", "a:b:c:d", false),
        ("a::c", "a:*:c", true),
        ("a::c", "a:c", false),
    ])
    func `a grant covers a requirement segment by segment`(granted: String, required: String, covers: Bool) throws {
        #expect(try scope(granted).covers(scope(required)) == covers)
        #expect(Set([try scope(granted)]).cover(try scope(required)) == covers)
        #expect(slowlyCovers(granted, required) == covers)
    }

    @Test func `the fast rule says what the slow one says`() throws {
        var random = SeededGenerator(seed: 1)
        let parts = ["a", "b", "ab", "*", "", "**", "a*"]
        var agreements = 0
        for _ in 0..<20_000 {
            let texts = (0..<2).map { _ in
                (0..<Int.random(in: 1...4, using: &random))
                    .map { _ in parts.randomElement(using: &random) ?? "a" }.joined(separator: ":")
            }
            guard let granted = Scope(texts[0]), let required = Scope(texts[1]) else { continue }
            let expected = slowlyCovers(texts[0], texts[1])
            #expect(granted.covers(required) == expected, "\(texts)")
            agreements += expected ? 1 : 0
        }
        #expect(agreements > 500)
    }
}

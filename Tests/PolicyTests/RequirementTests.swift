import IdentityModel
import Testing

@testable import Policy

@Suite struct RequirementTests {
    @Test func `authentication alone is enough for the plainest rule`() throws {
        #expect(evaluate(.authenticated, claims: try claims()) == .satisfied)
        #expect(CompiledRequirement(.authenticated).holds(for: try claims()))
    }

    @Test func `what is missing of an all_of is only what is not there`() throws {
        let requirement = Requirement.allOf([
            .scope(try scope("a:read")), .scope(try scope("b:read")), .role(try role("pm")),
        ])
        #expect(
            evaluate(requirement, claims: try claims(scopes: ["a:read"]))
                == .missing(scopes: [try scope("b:read")], roles: [try role("pm")]))
        #expect(evaluate(requirement, claims: try claims(scopes: ["a:read", "b:*"], roles: ["pm"])) == .satisfied)
    }

    @Test func `what is missing of an any_of is every alternative`() throws {
        let requirement = Requirement.anyOf([.scope(try scope("a:read")), .role(try role("pm"))])
        #expect(
            evaluate(requirement, claims: try claims(scopes: ["b:read"]))
                == .missing(scopes: [try scope("a:read")], roles: [try role("pm")]))
        #expect(evaluate(requirement, claims: try claims(roles: ["pm"])) == .satisfied)
        #expect(evaluate(requirement, claims: try claims(scopes: ["a:read"])) == .satisfied)
    }

    @Test func `an empty any_of never holds and an empty all_of always does`() throws {
        let everything = try claims(scopes: ["*", "*:*"], roles: ["admin"])
        #expect(evaluate(.anyOf([]), claims: everything) == .missing(scopes: [], roles: []))
        #expect(!CompiledRequirement(.anyOf([])).holds(for: everything))
        #expect(!CompiledRequirement(.allOf([.authenticated, .anyOf([])])).holds(for: everything))
        #expect(CompiledRequirement(.allOf([])).holds(for: try claims()))
    }

    @Test func `a role is compared whole and case counts`() throws {
        let requirement = CompiledRequirement(.role(try role("admin")))
        #expect(requirement.holds(for: try claims(roles: ["admin"])))
        #expect(!requirement.holds(for: try claims(roles: ["Admin", "admi", "admin2"])))
        #expect(!requirement.holds(for: try claims(scopes: ["admin"])))
    }

    @Test func `compiled, direct and slow evaluation agree on generated trees and claims`() throws {
        var random = SeededGenerator(seed: 2)
        var satisfied = 0
        for _ in 0..<20_000 {
            let requirement = try Self.generated(depth: 3, using: &random)
            let subject = try Self.generatedClaims(using: &random)
            let expected = Self.slowlyHolds(requirement, subject)
            let compiled = CompiledRequirement(requirement)
            #expect(compiled.holds(for: subject) == expected, "\(requirement) \(subject)")
            #expect((evaluate(requirement, claims: subject) == .satisfied) == expected)
            #expect(
                compiled.evaluate(scopes: subject.scopes, roles: subject.roles)
                    == evaluate(requirement, claims: subject))
            satisfied += expected ? 1 : 0
        }
        #expect((2_000...18_000).contains(satisfied))
    }

    @Test func `whoever is given all that is missing is satisfied`() throws {
        var random = SeededGenerator(seed: 3)
        var healed = 0
        for _ in 0..<10_000 {
            let requirement = try Self.generated(depth: 3, using: &random)
            var subject = try Self.generatedClaims(using: &random)
            guard Self.isPossible(requirement),
                case .missing(let scopes, let roles) = evaluate(requirement, claims: subject)
            else { continue }
            #expect(!scopes.isEmpty || !roles.isEmpty)
            subject.scopes.formUnion(scopes)
            subject.roles.formUnion(roles)
            #expect(evaluate(requirement, claims: subject) == .satisfied, "\(requirement)")
            healed += 1
        }
        #expect(healed > 1_000)
    }

    @Test func `more rights never take an answer back`() throws {
        var random = SeededGenerator(seed: 4)
        for _ in 0..<10_000 {
            let requirement = CompiledRequirement(try Self.generated(depth: 3, using: &random))
            var subject = try Self.generatedClaims(using: &random)
            let before = requirement.holds(for: subject)
            let more = try Self.generatedClaims(using: &random)
            subject.scopes.formUnion(more.scopes)
            subject.roles.formUnion(more.roles)
            if before { #expect(requirement.holds(for: subject)) }
        }
    }

    static func slowlyHolds(_ requirement: Requirement, _ claims: SubjectClaims) -> Bool {
        switch requirement {
        case .authenticated: true
        case .scope(let wanted): claims.scopes.map(\.name).filter { slowlyCovers($0, wanted.name) }.count > 0
        case .role(let wanted): claims.roles.map(\.name).filter { $0 == wanted.name }.count > 0
        case .allOf(let members): members.filter { !slowlyHolds($0, claims) }.count == 0
        case .anyOf(let members): members.filter { slowlyHolds($0, claims) }.count > 0
        }
    }

    static func isPossible(_ requirement: Requirement) -> Bool {
        switch requirement {
        case .authenticated, .scope, .role: true
        case .allOf(let members): members.allSatisfy(isPossible)
        case .anyOf(let members): !members.isEmpty && members.allSatisfy(isPossible)
        }
    }

    static func generated(depth: Int, using random: inout SeededGenerator) throws -> Requirement {
        switch Int.random(in: 0..<(depth > 0 ? 8 : 5), using: &random) {
        case 0: return .authenticated
        case 1, 2, 3: return .scope(try generatedScope(using: &random))
        case 4: return .role(try role(["pm", "sales", "admin"].randomElement(using: &random) ?? "pm"))
        case 5, 6:
            let members = try (0..<Int.random(in: 0...3, using: &random)).map { _ in
                try generated(depth: depth - 1, using: &random)
            }
            return .allOf(members)
        default:
            let members = try (0..<Int.random(in: 0...3, using: &random)).map { _ in
                try generated(depth: depth - 1, using: &random)
            }
            return .anyOf(members)
        }
    }

    static func generatedClaims(using random: inout SeededGenerator) throws -> SubjectClaims {
        var subject = try claims()
        for _ in 0..<Int.random(in: 0...4, using: &random) {
            subject.scopes.insert(try generatedScope(using: &random))
        }
        for name in ["pm", "sales", "admin"] where Bool.random(using: &random) { subject.roles.insert(try role(name)) }
        return subject
    }

    private static func generatedScope(using random: inout SeededGenerator) throws -> Scope {
        let parts = (0..<Int.random(in: 1...3, using: &random)).map { _ in
            ["a", "b", "*"].randomElement(using: &random) ?? "a"
        }
        return try scope(parts.joined(separator: ":"))
    }
}

extension CompiledRequirement {
    fileprivate func holds(for claims: SubjectClaims) -> Bool { holds(scopes: claims.scopes, roles: claims.roles) }
}

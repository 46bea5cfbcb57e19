import IdentityModel
import Testing

@testable import Policy

/// A small generator with a fixed seed (SplitMix64), so that a failing case comes back.
struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }
}

func scope(_ name: String) throws -> Scope { try #require(Scope(name)) }

func role(_ name: String) throws -> Role { try #require(Role(name)) }

func claims(scopes: [String] = [], roles: [String] = []) throws -> SubjectClaims {
    SubjectClaims(
        subject: Subject(issuer: "https://issuer.test", identifier: "1"), username: "ann",
        roles: Set(try roles.map(role)), scopes: Set(try scopes.map(scope)))
}

/// The rule of cover, written with lists of strings.
func slowlyCovers(_ granted: String, _ required: String) -> Bool {
    let left = granted.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
    let right = required.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
    return left.count == right.count && zip(left, right).allSatisfy { $0 == $1 || $0 == "*" || $1 == "*" }
}

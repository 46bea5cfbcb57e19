import IdentityService
import RateLimit
import Testing

@testable import AuthGateway
@testable import IdentityService

@Suite(.timeLimit(.minutes(1)))
struct SignInThrottleTests {
    private let throttle = MemorySignInThrottle(seed: .random())

    /// How many of the attempts are allowed.
    private func allowed(_ key: SignInThrottleKey, of attempts: Int) async throws -> Int {
        var count = 0
        for _ in 0..<attempts where try await throttle.take(key) == .allowed { count += 1 }
        return count
    }

    @Test func `five attempts are allowed, the sixth is not, and it is told how long to wait`() async throws {
        for key in [SignInThrottleKey.address("192.0.2.1"), .account("ann"), .account(""), .address("")] {
            for _ in 0..<5 { #expect(try await throttle.take(key) == .allowed) }
            guard case .limited(let retryAfter) = try await throttle.take(key) else {
                Issue.record("a sixth attempt")
                continue
            }
            // Five a minute are one in twelve seconds.
            #expect(retryAfter > .seconds(10) && retryAfter <= .seconds(12))
            #expect(try await allowed(key, of: 20) == 0)
        }
    }

    @Test func `each address and each account is counted by itself, also where they read the same`() async throws {
        for key in [SignInThrottleKey.address("a"), .account("a"), .address("b"), .account("b"), .account("A")] {
            #expect(try await allowed(key, of: 6) == 5)
        }
    }

    @Test func `addresses of one household count together, and of two apart (R121)`() async throws {
        let first = SignInThrottleKey.client("2001:db8:1:2::1")
        #expect(try await allowed(first, of: 3) == 3)
        #expect(try await allowed(.client("2001:db8:1:2:ffff:ffff:ffff:ffff"), of: 3) == 2)
        #expect(try await allowed(.client("2001:db8:1:3::1"), of: 6) == 5)
        #expect(try await allowed(.client("192.0.2.1"), of: 3) == 3)
        #expect(try await allowed(.client("::ffff:192.0.2.1"), of: 3) == 2)
        #expect(try await allowed(.client("192.0.2.2"), of: 6) == 5)
    }

    @Test func `a flood of keys neither grows without bound nor gives a spent key new attempts`() async throws {
        let small = MemorySignInThrottle(seed: .random(), entriesMax: 1000)
        for _ in 0..<5 { #expect(try await small.take(.account("victim")) == .allowed) }
        for index in 0..<5000 {
            _ = try await small.take(.address("10.0.\(index / 256).\(index % 256)"))
            _ = try await small.take(.account("user-\(index)"))
        }
        #expect(small.entryCount <= 1000)
        guard case .limited = try await small.take(.account("victim")) else {
            Issue.record("a flood gave new attempts")
            return
        }
    }

    @Test func `many threads together get five attempts`() async throws {
        let throttle = throttle
        let count = try await withThrowingTaskGroup(of: Bool.self) { group in
            for _ in 0..<200 { group.addTask { try await throttle.take(.account("ann")) == .allowed } }
            return try await group.reduce(0) { $0 + ($1 ? 1 : 0) }
        }
        #expect(count == 5)
    }
}

import Dispatch
import Synchronization
import Testing

@testable import Passwords

@Suite struct PasswordHasherTests {
    private let cheap: Argon2Parameters
    private let password: Password
    private let other: Password

    init() throws {
        cheap = try #require(Argon2Parameters(memoryKiB: 64, passes: 1, lanes: 1))
        password = try #require(Password("User@123"))
        other = try #require(Password("user@123"))
    }

    @Test func `what was hashed verifies, and nothing else does`() async throws {
        let hasher = try PasswordHasher(parameters: cheap)
        let stored = PasswordHash(try await hasher.hash(password))
        #expect(try await hasher.verify(password, against: stored) == .ok)
        #expect(try await hasher.verify(other, against: stored) == .wrong)
    }

    @Test func `a hash of another cost asks for a rehash, but only when the password is right`() async throws {
        let dearer = try #require(Argon2Parameters(memoryKiB: 128, passes: 1, lanes: 1))
        let stored = PasswordHash(try await PasswordHasher(parameters: cheap).hash(password))
        let hasher = try PasswordHasher(parameters: dearer)
        #expect(try await hasher.verify(password, against: stored) == .okNeedsRehash)
        #expect(try await hasher.verify(other, against: stored) == .wrong)
    }

    @Test func `R74: an unknown account is wrong and costs one hash of today`() async throws {
        let hasher = try PasswordHasher()
        let stored = PasswordHash(try await hasher.hash(password))
        let clock = ContinuousClock()
        var ratios: [Double] = []
        for _ in 0..<9 {
            let known = try await clock.measure { _ = try await hasher.verify(other, against: stored) }
            var verdict = PasswordVerdict.ok
            let unknown = try await clock.measure { verdict = try await hasher.verify(other, against: nil) }
            #expect(verdict == .wrong)
            ratios.append(unknown / known)
        }
        // The median of neighbours; wide, because test machines are busy. Without a hash it would be a thousandth.
        #expect((0.33...3).contains(ratios.sorted()[4]))
    }

    @Test func `whoever finds no place in the queue is turned away`() async throws {
        let hasher = try PasswordHasher(parameters: cheap, limits: .init(threads: 1, queueMax: 0))
        await #expect(throws: PasswordHasherError.overloaded) { try await hasher.hash(password) }
    }

    @Test func `whoever waited past the deadline is refused without a hash`() async throws {
        let start = ContinuousClock.now
        let time = Mutex(start)
        // Each look at the clock is five seconds later: the job is added at one and picked up at the next.
        let hasher = try PasswordHasher(
            parameters: cheap, limits: .init(threads: 1, queueTimeout: .seconds(5)),
            now: {
                time.withLock { time in
                    time += .seconds(5)
                    return time
                }
            })
        await #expect(throws: PasswordHasherError.overloaded) {
            try await hasher.verify(password, against: nil)
        }
    }

    @Test func `just before the deadline the job still runs`() async throws {
        let time = Mutex(ContinuousClock.now)
        let hasher = try PasswordHasher(
            parameters: cheap, limits: .init(threads: 1, queueTimeout: .seconds(5)),
            now: {
                time.withLock { time in
                    time += .milliseconds(4_999)
                    return time
                }
            })
        #expect(try await hasher.verify(password, against: nil) == .wrong)
    }

    @Test func `a cancelled caller does not wait for a thread`() async throws {
        let gate = Gate()
        let hasher = try PasswordHasher(
            parameters: cheap, limits: .init(threads: 1), now: gate.instantAfterOpening)
        gate.close()
        let password = password
        let running = Task { try await hasher.verify(password, against: nil) }
        await gate.untilBlocked()
        let waiting = Task { try await hasher.verify(password, against: nil) }
        waiting.cancel()
        await #expect(throws: PasswordHasherError.cancelled) { try await waiting.value }
        gate.open()
        #expect(try await running.value == .wrong)
    }
}

/// A clock whose readings on the hashing thread can be held back, so that a test knows that the thread is busy.
private final class Gate: Sendable {
    private struct State {
        var isClosed = false
        var isBlocked = false
        var asked = 0
    }
    private let state = Mutex(State())
    private let opened = DispatchSemaphore(value: 0)

    /// Callers read the clock first, the thread after them: with the gate closed, the second reading blocks.
    var instantAfterOpening: @Sendable () -> ContinuousClock.Instant {
        { [self] in
            let mustWait = state.withLock { state in
                state.asked += 1
                let mustWait = state.isClosed && state.asked == 2
                if mustWait { state.isBlocked = true }
                return mustWait
            }
            if mustWait { opened.wait() }
            return .now
        }
    }

    func close() { state.withLock { $0.isClosed = true } }
    func open() { opened.signal() }
    func untilBlocked() async { while !state.withLock({ $0.isBlocked }) { await Task.yield() } }
}

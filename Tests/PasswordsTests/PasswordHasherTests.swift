import Dispatch
import Glibc
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
        let spent = ThreadTimes()
        let hasher = try PasswordHasher(limits: .init(threads: 1, queueTimeout: .seconds(3_600)), now: spent.read)
        let stored = PasswordHash(try await hasher.hash(password))
        for _ in 0..<5 {
            _ = try await hasher.verify(other, against: stored)
            #expect(try await hasher.verify(other, against: nil) == .wrong)
        }
        _ = try await hasher.verify(other, against: nil)
        // Processor time, not time: a busy machine lets the thread wait. The first is the one that made the hash.
        let costs = spent.ofJobs.dropFirst()
        let known = costs.enumerated().filter { $0.offset.isMultiple(of: 2) }.map(\.element).sorted()
        let unknown = costs.enumerated().filter { !$0.offset.isMultiple(of: 2) }.map(\.element).sorted()
        #expect(known.count == 5 && unknown.count == 5)
        // Without a hash it would be a thousandth.
        #expect((0.5...2).contains(Double(unknown[2]) / Double(known[2])))
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
            parameters: cheap, limits: .init(threads: 1, queueTimeout: .seconds(3_600)),
            now: gate.instantAfterOpening)
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

/// A clock that notes, whenever the hashing thread reads it, the processor time which that thread has used.
///
/// For one caller at a time: callers read the clock when they ask, the thread when it begins the job.
private final class ThreadTimes: Sendable {
    private struct State {
        var isThreadNext = false
        var beginnings: [Int] = []
    }
    private let state = Mutex(State())

    var read: @Sendable () -> ContinuousClock.Instant {
        { [self] in
            state.withLock { state in
                if state.isThreadNext {
                    var time = timespec()
                    unsafe clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
                    state.beginnings.append(time.tv_sec * 1_000_000_000 + time.tv_nsec)
                }
                state.isThreadNext.toggle()
            }
            return .now
        }
    }

    /// Nanoseconds that each job took, but for the last one.
    var ofJobs: [Int] {
        state.withLock { state in zip(state.beginnings.dropFirst(), state.beginnings).map { $0 - $1 } }
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

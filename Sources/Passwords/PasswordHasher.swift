internal import BlockingWork
internal import Glibc

/// Hashes and verifies passwords on a few threads of its own, at lower priority than the rest of the program.
///
/// However many ask at once, only so many hashes run, so many wait, and whoever waited too long is told so
/// instead of being served late: a flood of sign-ins costs sign-ins, never the traffic that passes the gateway.
public final class PasswordHasher: Sendable {
    /// How many hashes may run and wait.
    public struct Limits: Sendable {
        /// Hashes at the same time.
        public var threads: Int
        /// Callers that wait for a thread; one more is turned away.
        public var queueMax: Int
        /// The longest wait for a thread.
        public var queueTimeout: Duration

        /// Half the cores (at least one), 64 callers, 5 seconds.
        public init(threads: Int? = nil, queueMax: Int = 64, queueTimeout: Duration = .seconds(5)) {
            self.threads = threads ?? max(1, sysconf(CInt(_SC_NPROCESSORS_ONLN)) / 2)
            self.queueMax = queueMax
            self.queueTimeout = queueTimeout
        }
    }

    private struct Job: Sendable {
        let deadline: ContinuousClock.Instant
        let isDead: @Sendable () -> Bool
        let run: @Sendable () -> Void
        let refuse: @Sendable () -> Void
    }

    private let parameters: Argon2Parameters
    private let limits: Limits
    private let now: @Sendable () -> ContinuousClock.Instant
    private let queue: JobQueue<Job>
    /// What an unknown account is compared with, so that it costs what a known one costs.
    private let decoy: Argon2idString

    /// Starts the threads and makes the hash that unknown accounts are compared with; takes as long as one hash.
    public init(
        parameters: Argon2Parameters = .standard, limits: Limits = Limits(),
        now: @escaping @Sendable () -> ContinuousClock.Instant = { ContinuousClock.now }
    ) throws(PasswordHasherError) {
        self.parameters = parameters
        self.limits = limits
        self.now = now
        self.decoy = try PasswordHasher.makeDecoy(parameters)
        let queue = JobQueue<Job>(capacity: limits.queueMax)
        self.queue = queue
        for _ in 0..<limits.threads {
            guard startDetachedThread({ PasswordHasher.work(on: queue, now: now) }) else {
                queue.close()
                throw .noThread
            }
        }
    }

    deinit { queue.close() }

    /// The PHC string to store for a password.
    public func hash(_ password: Password) async throws(PasswordHasherError) -> String {
        let parameters = parameters
        return try await perform { () throws(PasswordHasherError) in
            try Argon2id.hash(password, parameters, salt: Argon2id.randomSalt())
        }
    }

    /// Compares a password with a stored hash.
    ///
    /// `nil`, for an unknown account or one without a usable hash, costs the same as a hash of today and is `wrong`.
    public func verify(_ password: Password, against stored: PasswordHash?) async throws(PasswordHasherError)
        -> PasswordVerdict
    {
        let (parameters, decoy) = (parameters, decoy)
        return try await perform { () throws(PasswordHasherError) in
            guard case .argon2id(let hash) = stored else {
                _ = try Argon2id.verify(password, against: decoy)
                return .wrong
            }
            guard try Argon2id.verify(password, against: hash) else { return .wrong }
            return hash.isOutdated(for: parameters) ? .okNeedsRehash : .ok
        }
    }

    private func perform<Value: Sendable>(
        _ body: @escaping @Sendable () throws(PasswordHasherError) -> Value
    ) async throws(PasswordHasherError) -> Value {
        let reply = Reply<Result<Value, PasswordHasherError>>()
        let job = Job(
            deadline: now() + limits.queueTimeout,
            isDead: { reply.isAnswered },
            run: { reply.answer(Result { () throws(PasswordHasherError) in try body() }) },
            refuse: { reply.answer(.failure(.overloaded)) })
        guard queue.add(job, droppingWhere: { $0.isDead() }) else { throw .overloaded }
        let result = await withTaskCancellationHandler {
            await reply.value()
        } onCancel: {
            reply.answer(.failure(.cancelled))
        }
        return try result.get()
    }

    private static func work(on queue: JobQueue<Job>, now: @Sendable () -> ContinuousClock.Instant) {
        _ = nice(10)  // of the calling thread alone: Linux keeps it for each thread
        while let job = queue.next() {
            if job.isDead() { continue }
            if now() < job.deadline { job.run() } else { job.refuse() }
        }
    }

    private static func makeDecoy(_ parameters: Argon2Parameters) throws(PasswordHasherError) -> Argon2idString {
        // Nobody can type these 256 bytes: they are random and forgotten here.
        var generator = SystemRandomNumberGenerator()
        let bytes = (0..<Password.bytesMax).map { _ in UInt8.random(in: .min ... .max, using: &generator) }
        guard let password = Password(bytes),
            let decoy = Argon2idString(try Argon2id.hash(password, parameters, salt: Argon2id.randomSalt()))
        else { preconditionFailure("a fresh hash is not in our own grammar") }
        return decoy
    }
}

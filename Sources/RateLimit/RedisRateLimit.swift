public import EventLoop
public import Redis

/// What a shared store says of one token.
public enum RateLimitAnswer: Sendable, Equatable {
    case decided(RateLimitOutcome)
    /// Nobody knows. The rule's `on_store_error` says what follows; it is never taken for an answer here.
    case storeUnavailable(RedisError)
}

/// Buckets in Redis, one script call for each token; nodes need no common clock.
///
/// Belongs to one worker, like its connection; as many calls may be under way as the connection allows.
public final class RedisRateLimit {
    private let connection: RedisConnection
    private let loop: EventLoop
    private let timeout: UInt64
    /// Filled anew for each call; it keeps its memory.
    private var command = RedisCommand()
    private var keyText: [UInt8] = []
    /// Whether an `EVAL` is under way that will make the script known to the server.
    private var isLoading = false

    private struct Call {
        let rule: RateLimitRule
        let key: RateLimitKey
        let deadline: MonotonicInstant
        let completion: (RateLimitAnswer) -> Void
    }

    /// `timeout`: how long an answer may take before the store counts as away.
    public init(connection: RedisConnection, loop: EventLoop, timeout: Duration) {
        self.connection = connection
        self.loop = loop
        self.timeout = timeout.clampedNanoseconds
    }

    /// Spends one token of the key's bucket, if there is one; `completion` is called once, on the loop's thread, never
    /// before this returns.
    ///
    /// When it throws, the store is away and nothing was sent; `completion` is not called. The key must be made with a
    /// seed that all nodes share. Intervals count in microseconds here, rounded up: a rule of more than 10,000 tokens
    /// a second is undercut by up to one microsecond for each token.
    public func take(
        _ rule: RateLimitRule, key: RateLimitKey, completion: @escaping (RateLimitAnswer) -> Void
    ) throws(RedisError) {
        let call = Call(
            rule: rule, key: key, deadline: loop.now.advanced(byNanoseconds: timeout), completion: completion)
        try send(call, name: "EVALSHA", script: RedisRateLimitScript.digest) { limit, reply in
            limit.answered(call, reply)
        }
    }

    private func answered(_ call: Call, _ reply: Result<RedisReply, RedisError>) {
        // The script did not run, so that this is no second token. A server that has just been started knows none.
        guard case .failure(.refused(let error)) = reply, error.code == "NOSCRIPT" else {
            return call.completion(RedisRateLimit.answer(reply, rule: call.rule))
        }
        do throws(RedisError) {
            try sendAgain(call)
        } catch {
            call.completion(.storeUnavailable(error))
        }
    }

    /// The first call that meets NOSCRIPT brings the script along; those behind it find it loaded, because answers and
    /// commands keep their order.
    private func sendAgain(_ call: Call) throws(RedisError) {
        guard !isLoading else {
            return try send(call, name: "EVALSHA", script: RedisRateLimitScript.digest) { _, reply in
                call.completion(RedisRateLimit.answer(reply, rule: call.rule))
            }
        }
        try send(call, name: "EVAL", script: RedisRateLimitScript.source) { limit, reply in
            limit.isLoading = false
            call.completion(RedisRateLimit.answer(reply, rule: call.rule))
        }
        isLoading = true
    }

    private func send(
        _ call: Call, name: String, script: String,
        then: @escaping (RedisRateLimit, Result<RedisReply, RedisError>) -> Void
    ) throws(RedisError) {
        keyText.removeAll(keepingCapacity: true)
        keyText.append(contentsOf: RedisRateLimit.keyPrefix.utf8)
        call.key.appendHexDigits(to: &keyText)
        command.begin(argumentCount: 6)
        command.append(name)
        command.append(script)
        command.append(1)
        command.append(keyText)
        command.append(Int(call.rule.intervalMicroseconds))
        command.append(call.rule.burst)
        try connection.send(command, deadline: call.deadline) { [self] reply in then(self, reply) }
    }

    /// Believes nothing but what the script can have said.
    static func answer(_ reply: Result<RedisReply, RedisError>, rule: RateLimitRule) -> RateLimitAnswer {
        switch reply {
        case .failure(let error): return .storeUnavailable(error)
        case .success(.array(let items)):
            guard items.count == 4, case .integer(let verdict) = items[0], case .integer(let remaining) = items[1],
                case .integer(let retryAfter) = items[2], case .integer(let resetAfter) = items[3],
                (0..<Int64(rule.burst)).contains(remaining), retryAfter >= 0, resetAfter >= 0
            else { return .storeUnavailable(.unexpectedReply) }
            let reset = Duration.microseconds(resetAfter)
            if verdict == 1 { return .decided(.allowed(remaining: Int(remaining), resetAfter: reset)) }
            guard verdict == 0, retryAfter > 0 else { return .storeUnavailable(.unexpectedReply) }
            return .decided(.limited(retryAfter: .microseconds(retryAfter), resetAfter: reset))
        case .success: return .storeUnavailable(.unexpectedReply)
        }
    }

    private static let keyPrefix = "gw:rl:"
}

extension RateLimitRule {
    /// Microseconds until one token is back, rounded up.
    var intervalMicroseconds: UInt64 { (interval + 999) / 1000 }
}

import EventLoop
import Redis
import RedisTestSupport
import Testing

@testable import RateLimit

@Suite(.timeLimit(.minutes(2))) struct RedisRateLimitTests {
    private let seed = RateLimitSeed(words: (5, 6))

    @Test func `the server knows the script by the digest that is used for it`() async throws {
        let server = try RedisServer()
        let client = try RedisClient(server.overUnixSocket)
        defer { client.stop() }
        #expect(
            await client.send("SCRIPT", "LOAD", RedisRateLimitScript.source)
                == .success(.bulk(Array(RedisRateLimitScript.digest.utf8))))
    }

    @Test func `the script decides as memory does, on any sequence`() async throws {
        let server = try RedisServer()
        let client = try RedisClient(server.overUnixSocket)
        defer { client.stop() }
        // The same script, with a clock that the test sets.
        let script = RedisRateLimitScript.source(clock: "{ARGV[3], ARGV[4]}")
        var chance = SplitMix(state: 77)
        var kinds = [true: 0, false: 0]
        for round in 0..<60 {
            let count = Int.random(in: 1...10, using: &chance)
            let interval = Int64.random(in: 60_000_000...90_000_000_000, using: &chance)
            let burst = Int.random(in: 1...12, using: &chance)
            let rule = try #require(
                RateLimitRule(count: count, period: .microseconds(interval * Int64(count)), burst: burst))
            var state = RateLimitState(fullAt: 0)
            // Microseconds since 1970, as the server would say.
            var now: UInt64 = 1_790_000_000_000_000 + UInt64.random(in: 0...1_000_000_000, using: &chance)
            for _ in 0..<40 {
                now += step(UInt64(interval), burst: UInt64(burst), &chance)
                let reply = await client.send(
                    "EVAL", script, "1", "key \(round)", "\(rule.intervalMicroseconds)", "\(burst)",
                    "\(now / 1_000_000)", "\(now % 1_000_000)")
                let outcome = state.take(rule, at: now * 1000)
                kinds[outcome.isAllowed, default: 0] += 1
                try #require(RedisRateLimit.answer(reply, rule: rule) == .decided(outcome))
            }
        }
        #expect(kinds.values.allSatisfy { $0 > 300 })
    }

    @Test func `a clock that steps back holds nobody longer than an empty bucket would`() async throws {
        let server = try RedisServer()
        let client = try RedisClient(server.overUnixSocket)
        defer { client.stop() }
        let script = RedisRateLimitScript.source(clock: "{ARGV[3], ARGV[4]}")
        let rule = try #require(RateLimitRule(count: 1, period: .seconds(60), burst: 2))
        func take(at second: Int) async -> RateLimitAnswer {
            let reply = await client.send("EVAL", script, "1", "k", "60000000", "2", "\(second)", "0")
            return RedisRateLimit.answer(reply, rule: rule)
        }
        #expect(await take(at: 100_000) == .decided(.allowed(remaining: 1, resetAfter: .seconds(60))))
        let empty = RateLimitOutcome.limited(retryAfter: .seconds(60), resetAfter: .seconds(120))
        #expect(await take(at: 50_000) == .decided(empty))
        #expect(await take(at: 50_060) == .decided(.allowed(remaining: 0, resetAfter: .seconds(120))))
    }

    @Test func `nodes that share a key get its burst together, neither more nor less`() async throws {
        let server = try RedisServer()
        let nodes = try (0..<4).map { _ in try RateLimitNode(server.overTCP) }
        defer { for node in nodes { node.client.stop() } }
        let rule = try #require(RateLimitRule(count: 100, period: .seconds(36_000), burst: 100))
        let key = key("shared")
        let answers = await withTaskGroup(of: [RateLimitAnswer].self) { group in
            for node in nodes { group.addTask { await node.take(rule, key, count: 60) } }
            return await group.reduce(into: []) { $0 += $1 }
        }
        #expect(answers.count == 240)
        #expect(answers.filter(\.isAllowed).count == 100)
        #expect(answers.filter(\.isLimited).count == 140)
    }

    @Test func `a script that the server has forgotten is sent again, and no token is spent twice`() async throws {
        let server = try RedisServer()
        let node = try RateLimitNode(server.overUnixSocket)
        defer { node.client.stop() }
        let rule = try #require(RateLimitRule(count: 1000, period: .seconds(360_000), burst: 1000))
        let key = key("k")
        var allowed = 0
        for _ in 0..<10 {
            #expect(await node.client.send("SCRIPT", "FLUSH") == .success(.status("OK")))
            allowed += await node.take(rule, key, count: 50).filter(\.isAllowed).count
        }
        #expect(allowed == 500)
        #expect(await node.take(rule, key, count: 1).first?.remaining == 499)
        // One of each wave brought the script along.
        guard case .success(.bulk(let text)) = await node.client.send("INFO", "commandstats") else {
            Issue.record("no statistics")
            return
        }
        #expect(String(decoding: text, as: UTF8.self).contains("cmdstat_eval:calls=10,"))
    }

    @Test func `a restarted server is unavailable and then counts anew`() async throws {
        let server = try RedisServer()
        let node = try RateLimitNode(server.overTCP)
        defer { node.client.stop() }
        let rule = try #require(RateLimitRule(count: 1, period: .seconds(3600), burst: 1))
        #expect(await node.take(rule, key("k"), count: 2).map(\.isAllowed) == [true, false])
        server.stop()
        #expect(await node.take(rule, key("k"), count: 3).allSatisfy(\.isUnavailable))
        try server.start()
        await node.client.state { $0 == .ready }
        #expect(await node.take(rule, key("k"), count: 2).map(\.isAllowed) == [true, false])
    }

    @Test func `a slow server is unavailable, not empty`() async throws {
        let server = try RedisServer()
        let node = try RateLimitNode(server.overTCP, timeout: .milliseconds(50))
        defer { node.client.stop() }
        let rule = try #require(RateLimitRule(count: 1, period: .seconds(3600), burst: 1))
        _ = await node.client.send("CLIENT", "PAUSE", "100000", "ALL")
        #expect(
            await node.take(rule, key("k"), count: 2) == Array(repeating: .storeUnavailable(.deadlinePassed), count: 2))
    }

    @Test(arguments: ["text", "", "nan", "-nan", "0x", "list"])
    func `what is no bucket is no answer`(value: String) async throws {
        let server = try RedisServer()
        let node = try RateLimitNode(server.overUnixSocket)
        defer { node.client.stop() }
        let rule = try #require(RateLimitRule(count: 5, period: .seconds(3600), burst: 5))
        let name = "gw:rl:" + hex(key("k"))
        _ = value == "list" ? await node.client.send("LPUSH", name, "1") : await node.client.send("SET", name, value)
        #expect(await node.take(rule, key("k"), count: 1).allSatisfy(\.isUnavailable))
    }

    @Test(arguments: ["inf", "1e300", "9007199254740993"])
    func `a bucket from the far future is an empty one`(value: String) async throws {
        let server = try RedisServer()
        let node = try RateLimitNode(server.overUnixSocket)
        defer { node.client.stop() }
        let rule = try #require(RateLimitRule(count: 5, period: .seconds(3600), burst: 5))
        _ = await node.client.send("SET", "gw:rl:" + hex(key("k")), value)
        #expect(
            await node.take(rule, key("k"), count: 1)
                == [.decided(.limited(retryAfter: .seconds(720), resetAfter: .seconds(3600)))])
    }

    @Test func `a key holds nothing of the value, and lives about as long as the bucket is not full`() async throws {
        let server = try RedisServer()
        let node = try RateLimitNode(server.overUnixSocket)
        defer { node.client.stop() }
        let rule = try #require(RateLimitRule(count: 1, period: .seconds(100), burst: 3))
        _ = await node.take(rule, key("jane@example.com"), count: 2)
        let name = "gw:rl:" + hex(key("jane@example.com"))
        #expect(await node.client.send("KEYS", "*") == .success(.array([.bulk(Array(name.utf8))])))
        guard case .success(.integer(let left)) = await node.client.send("PTTL", name) else {
            Issue.record("no expiry")
            return
        }
        #expect((190_000...201_001).contains(left))
    }

    @Test(arguments: [
        "+OK\r\n", "$-1\r\n", ":1\r\n", "*0\r\n", "*3\r\n:1\r\n:0\r\n:0\r\n", "*4\r\n:1\r\n:5\r\n:0\r\n:1\r\n",
        "*4\r\n:2\r\n:0\r\n:1\r\n:1\r\n", "*4\r\n:1\r\n:-1\r\n:0\r\n:1\r\n", "*4\r\n:0\r\n:0\r\n:0\r\n:1\r\n",
        "*4\r\n:0\r\n:0\r\n:1\r\n:-1\r\n", "*4\r\n:1\r\n:0\r\n:0\r\n$1\r\n1\r\n",
    ])
    func `an answer that the script cannot have given is none`(wire: String) async throws {
        let server = try FakeServer { peer in
            peer.read(atLeast: 1)
            peer.write(wire)
            peer.readToEnd()
        }
        let node = try RateLimitNode(server.settings)
        let rule = try #require(RateLimitRule(count: 5, period: .seconds(60), burst: 5))
        #expect(await node.take(rule, key("k"), count: 1) == [.storeUnavailable(.unexpectedReply)])
        node.client.stop()
        server.stop()
    }

    @Test func `a server that says NOSCRIPT for ever is asked twice and no more`() async throws {
        let server = try FakeServer { peer in
            peer.read(atLeast: 1)
            peer.write("-NOSCRIPT no\r\n")
            peer.read(atLeast: 1)
            peer.write("-NOSCRIPT no\r\n")
            peer.readToEnd()
        }
        let node = try RateLimitNode(server.settings)
        let rule = try #require(RateLimitRule(count: 5, period: .seconds(60), burst: 5))
        let answers = await node.take(rule, key("k"), count: 1)
        guard case .storeUnavailable(.refused(let error)) = answers.first else {
            Issue.record("\(answers)")
            return
        }
        #expect(error.code == "NOSCRIPT")
        node.client.stop()
        server.stop()
    }

    // MARK: Helpers

    private func key(_ text: String) -> RateLimitKey {
        RateLimitKeyspace(rule: "r", kind: .subject, seed: seed).key(text.utf8.span)
    }

    private func hex(_ key: RateLimitKey) -> String {
        var text: [UInt8] = []
        key.appendHexDigits(to: &text)
        return String(decoding: text, as: UTF8.self)
    }

    private func step(_ interval: UInt64, burst: UInt64, _ chance: inout SplitMix) -> UInt64 {
        switch Int.random(in: 0...9, using: &chance) {
        case 0...3: 0
        case 4...6: UInt64.random(in: 0...interval, using: &chance)
        case 7, 8: interval + UInt64.random(in: 0...2, using: &chance) - 1
        default: UInt64.random(in: 0...(interval * burst * 2), using: &chance)
        }
    }
}

/// One node's end of a shared limit.
private final class RateLimitNode: Sendable {
    let client: RedisClient
    private let timeout: Duration

    init(_ settings: RedisSettings, timeout: Duration = .seconds(10)) throws {
        client = try RedisClient(settings)
        self.timeout = timeout
    }

    /// Takes in one turn of the loop, all under way at once.
    func take(_ rule: RateLimitRule, _ key: RateLimitKey, count: Int) async -> [RateLimitAnswer] {
        await withCheckedContinuation { continuation in
            client.perform { [timeout] loop, connection in
                let limit = RedisRateLimit(connection: connection, loop: loop, timeout: timeout)
                var answers: [RateLimitAnswer] = []
                func note(_ answer: RateLimitAnswer) {
                    answers.append(answer)
                    if answers.count == count { continuation.resume(returning: answers) }
                }
                for _ in 0..<count {
                    do throws(RedisError) {
                        try limit.take(rule, key: key, completion: note)
                    } catch {
                        note(.storeUnavailable(error))
                    }
                }
            }
        }
    }
}

extension RateLimitAnswer {
    var isAllowed: Bool { if case .decided(.allowed) = self { true } else { false } }
    var isLimited: Bool { if case .decided(.limited) = self { true } else { false } }
    var isUnavailable: Bool { if case .storeUnavailable = self { true } else { false } }
    var remaining: Int? { if case .decided(.allowed(let remaining, _)) = self { remaining } else { nil } }
}

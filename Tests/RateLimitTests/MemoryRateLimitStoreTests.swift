import EventLoop
import Synchronization
import Testing

@testable import RateLimit

@Suite struct MemoryRateLimitStoreTests {
    private let now = MonotonicInstant(nanoseconds: 1_000_000_000_000)

    @Test func `threads that take from one key get its burst together, neither more nor less`() throws {
        let rule = try #require(RateLimitRule(count: 1000, period: .seconds(3600), burst: 1000))
        let store = MemoryRateLimitStore()
        let key = RateLimitKeyspace(rule: "r", kind: .address, seed: .random()).key("k".utf8.span)
        let allowed = Counter()
        let threads = try (0..<8).map { index in
            try LoopThread(name: "taker \(index)") { [now] in
                for _ in 0..<5000 where store.take(rule, key: key, now: now).isAllowed {
                    allowed.count.add(1, ordering: .relaxed)
                }
            }
        }
        for thread in threads { thread.join() }
        #expect(allowed.count.load(ordering: .relaxed) == 1000)
    }

    @Test func `threads with many keys get each key's burst, through growth of the table`() throws {
        let rule = try #require(RateLimitRule(count: 3, period: .seconds(3600), burst: 3))
        let store = MemoryRateLimitStore(entriesMax: 50_000)
        let space = RateLimitKeyspace(rule: "r", kind: .subject, seed: .random())
        let allowed = Counter()
        let threads = try (0..<4).map { index in
            try LoopThread(name: "taker \(index)") { [now] in
                for number in 0..<10_000 {
                    let key = space.key("\(number)".utf8.span)
                    for _ in 0..<2 where store.take(rule, key: key, now: now).isAllowed {
                        allowed.count.add(1, ordering: .relaxed)
                    }
                }
            }
        }
        for thread in threads { thread.join() }
        #expect(allowed.count.load(ordering: .relaxed) == 30_000)
        #expect(store.entryCount == 10_000)
    }

    @Test(arguments: [1, 2, 4096, 4097, 20_000])
    func `never holds more entries than it may, and nearly as many`(entriesMax: Int) throws {
        let rule = try #require(RateLimitRule(count: 1, period: .seconds(3600), burst: 800_000))
        let store = MemoryRateLimitStore(entriesMax: entriesMax)
        let space = RateLimitKeyspace(rule: "r", kind: .subject, seed: RateLimitSeed(words: (3, 4)))
        for number in 0..<(entriesMax * 2) { _ = store.take(rule, key: space.key("\(number)".utf8.span), now: now) }
        #expect(store.entryCount <= entriesMax)
        #expect(store.entryCount >= entriesMax * 95 / 100)
    }

    private final class Counter: Sendable {
        let count = Atomic<Int>(0)
    }
}

package import EventLoop
package import Redis
internal import Synchronization

/// A connection on a loop of its own, for tests that speak to it in sequence.
package final class RedisClient: Sendable {
    private let mailbox: Mailbox
    private let thread: LoopThread
    private let content: Content

    /// Touched on the loop's thread alone, but for its creation before that thread starts.
    private final class Content: @unchecked Sendable {
        let loop: EventLoop
        let connection: RedisConnection
        var waiters: [Waiter] = []
        var history: [RedisConnectionState] = []

        struct Waiter {
            let isMet: @Sendable (RedisConnectionState) -> Bool
            let continuation: CheckedContinuation<Void, Never>
        }

        init(settings: RedisSettings) throws {
            loop = try EventLoop()
            connection = RedisConnection(settings: settings, loop: loop)
        }

        func wake() {
            let state = connection.state
            let met = waiters.filter { $0.isMet(state) }
            waiters.removeAll { $0.isMet(state) }
            for waiter in met { waiter.continuation.resume() }
        }
    }

    /// Begins to connect at once.
    package init(_ settings: RedisSettings) throws {
        let content = try Content(settings: settings)
        self.content = content
        mailbox = content.loop.mailbox
        thread = try LoopThread(name: "redis-client") {
            content.connection.stateChanged = { [unowned content] state in
                content.history.append(state)
                content.wake()
            }
            content.connection.start()
            content.loop.run()
        }
    }

    /// Closes the connection and waits for the thread.
    package func stop() {
        perform { loop, connection in
            connection.close()
            loop.stop()
        }
        thread.join()
    }

    /// Runs on the loop's thread.
    package func perform(_ body: @escaping @Sendable (EventLoop, RedisConnection) -> Void) {
        mailbox.post { [content] _ in body(content.loop, content.connection) }
    }

    /// Sends a command of these words; what is refused at once is a failure like any other.
    package func send(_ words: String..., timeout: UInt64 = 10_000) async -> Result<RedisReply, RedisError> {
        await begin(words, timeout: timeout).value
    }

    /// Sends a command and goes on; what is done afterwards happens after it.
    package func begin(_ words: [String], timeout: UInt64 = 10_000) -> RedisAnswer {
        let (stream, continuation) = AsyncStream.makeStream(of: Result<RedisReply, RedisError>.self)
        perform { loop, connection in
            do throws(RedisError) {
                let deadline = loop.now.advanced(byNanoseconds: timeout * 1_000_000)
                try connection.send(RedisCommand(words), deadline: deadline) { continuation.yield($0) }
            } catch {
                continuation.yield(.failure(error))
            }
        }
        return RedisAnswer(stream: stream)
    }

    /// Every state so far.
    package func history() async -> [RedisConnectionState] {
        await withCheckedContinuation { continuation in
            mailbox.post { [content] _ in continuation.resume(returning: content.history) }
        }
    }

    /// Waits until the state is, or becomes, such a one.
    package func state(_ isMet: @escaping @Sendable (RedisConnectionState) -> Bool) async {
        await withCheckedContinuation { continuation in
            mailbox.post { [content] _ in
                content.waiters.append(.init(isMet: isMet, continuation: continuation))
                content.wake()
            }
        }
    }
}

/// What a command will be answered with.
package struct RedisAnswer: Sendable {
    let stream: AsyncStream<Result<RedisReply, RedisError>>

    package var value: Result<RedisReply, RedisError> {
        get async {
            for await result in stream { return result }
            return .failure(.closed)
        }
    }
}

extension RedisConnectionState {
    /// Whether an attempt has failed and the next is to come.
    package var isWaiting: Bool { if case .waiting = self { true } else { false } }
}
